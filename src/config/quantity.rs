//! How amounts of memory are written in RabbitMQ's settings: `1073741824`, `512MB`, `2GiB`, `0.6`.

use crate::server::Watermark;

/// Reads a number of bytes, with one of RabbitMQ's unit symbols or none. `k`, `kB`, `M`, `MB`, ... are powers of 1000
/// and `Ki`, `KiB`, ... of 1024, except that RabbitMQ's bare `k`, `M`, `G`, `T` and `P` are powers of 1024, too.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" | "kb" => 1000,
        "MB" | "mb" => 1000_u64.pow(2),
        "GB" | "gb" => 1000_u64.pow(3),
        "TB" | "tb" => 1000_u64.pow(4),
        "PB" | "pb" => 1000_u64.pow(5),
        "k" | "K" | "Ki" | "ki" | "KiB" | "kiB" | "kib" => 1024,
        "M" | "m" | "Mi" | "MiB" | "mib" => 1024_u64.pow(2),
        "G" | "g" | "Gi" | "GiB" | "gib" => 1024_u64.pow(3),
        "T" | "t" | "Ti" | "TiB" | "tib" => 1024_u64.pow(4),
        "P" | "p" | "Pi" | "PiB" | "pib" => 1024_u64.pow(5),
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a memory watermark: a fraction such as `0.6`, or a number of [`bytes()`].
pub fn watermark(text: &str) -> Option<Watermark> {
    match text.trim().parse::<f64>() {
        Ok(fraction) if fraction > 0.0 && fraction <= 1.0 => Some(Watermark::Fraction(fraction)),
        _ => bytes(text).map(Watermark::Bytes),
    }
}

/// Reads a fraction, which may be more than the whole.
pub fn fraction(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|fraction: &f64| fraction.is_finite() && *fraction >= 0.0)
}

/// Reads a limit of free disk space: a fraction of memory such as `1.5`, told by its point, or a number of [`bytes()`].
pub fn disk_limit(text: &str) -> Option<Watermark> {
    match bytes(text) {
        Some(bytes) => Some(Watermark::Bytes(bytes)),
        None if text.contains('.') => fraction(text).map(Watermark::Fraction),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        assert_eq!(bytes("1073741824"), Some(1 << 30));
        assert_eq!(bytes("512MB"), Some(512_000_000));
        assert_eq!(bytes("2 GiB"), Some(2 << 30));
        assert_eq!(bytes("4k"), Some(4096));
        for bad in ["", "GB", "1.5GB", "-1", "12 parsecs", "99999999999999999999", "99999999PB"] {
            assert_eq!(bytes(bad), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn watermarks_are_fractions_or_amounts() {
        assert_eq!(watermark("0.4"), Some(Watermark::Fraction(0.4)));
        assert_eq!(watermark("1"), Some(Watermark::Fraction(1.0)));
        assert_eq!(watermark("2GB"), Some(Watermark::Bytes(2_000_000_000)));
        assert_eq!(watermark("0"), Some(Watermark::Bytes(0)));
        assert_eq!(disk_limit("1.5"), Some(Watermark::Fraction(1.5)));
        assert_eq!(disk_limit("1"), Some(Watermark::Bytes(1)));
        assert_eq!(disk_limit("1GiB"), Some(Watermark::Bytes(1 << 30)));
        for bad in ["-0.5", "1.5GB", "inf", "much"] {
            assert_eq!(disk_limit(bad), None, "{bad}");
        }
        assert_eq!(watermark("1.5"), None);
        assert_eq!(watermark("NaN"), None);
    }
}
