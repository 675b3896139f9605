//! `log.*`.

use super::{Settings, flag};
use crate::config::error::Error;
use crate::config::logging::{Format, LogFile, Logging, Output, level};

/// Keys of categories, with the targets that stand for them here.
const CATEGORIES: [&str; 4] = ["connection", "channel", "queue", "user"];

pub(super) fn read(settings: &Settings<'_>) -> Result<Logging, Error> {
    let level = |key: &str| settings.read(key, level);
    let output = |of: &str| -> Result<Output, Error> {
        let format = settings.read(&format!("log.{of}.formatter"), |value| match value {
            "plaintext" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        })?;
        Ok(Output { level: level(&format!("log.{of}.level"))?, format: format.unwrap_or_default() })
    };
    let mut categories = Vec::new();
    for category in CATEGORIES {
        categories.extend(level(&format!("log.{category}.level"))?.map(|level| (category.to_owned(), level)));
    }
    let (console, file, exchange) = (output("console")?, output("file")?, output("exchange")?);
    let path = settings.text("log.file").filter(|path| path != "false");
    let rotation = (settings.bytes("log.file.rotation.size")?, settings.number("log.file.rotation.count")?);
    let file = path.map(|path| LogFile {
        path: settings
            .text("log.dir")
            .map_or_else(|| path.clone().into(), |dir| std::path::Path::new(&dir).join(&path)),
        output: file,
        rotation_bytes: rotation.0.filter(|bytes| *bytes > 0),
        kept: rotation.1.unwrap_or(0),
    });
    let is_on = |key: &str| settings.get(key).map(flag).transpose();
    Ok(Logging {
        level: level("log.default.level")?,
        categories,
        console: (is_on("log.console")? != Some(false)).then_some(console),
        file,
        exchange: (is_on("log.exchange")? == Some(true)).then_some(exchange),
    })
}
