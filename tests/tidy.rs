//! Checks of the source text: what a reviewer would otherwise have to notice each time. Links nothing of the crate.
//!
//! Each rule is a list of findings, and a finding says file, line and what to do. `cargo test --test tidy -- --nocapture`
//! also prints what is advice: long files, and rows of the specification that no test names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, row. A module imports from lower rows only; modules of one row do not know each other.
const LAYERS: &[(&str, u32)] = &[
    ("allocator", 0),
    ("time", 0),
    ("metrics", 0),
    ("hashing", 0),
    ("tls_client", 0),
    ("wire", 1),
    ("store", 1),
    ("replicate", 2),
    ("auth", 2),
    ("auth_backends", 3),
    ("cluster", 3),
    ("broker", 4),
    ("amqp", 5),
    ("mqtt", 5),
    ("stomp", 5),
    ("amqp10", 5),
    ("management", 5),
    ("server", 6),
    ("config", 7),
    ("perf", 7),
    ("cli", 8),
    ("main", 8),
];

/// Downward imports that are forbidden all the same.
const STRANGERS: &[(&str, &str, &str)] = &[
    ("perf", "server", "the load generator is a client"),
    ("perf", "broker", "the load generator is a client"),
    ("perf", "amqp", "the load generator is a client"),
    ("cluster", "auth", "nodes know no users"),
];

/// Words that code of a place must not contain, its tests aside: (path prefix, paths excepted, word, why).
const BANNED: &[(&str, &[&str], &str, &str)] = &[
    ("src/wire/", &[], "tokio", "the codec has no sockets"),
    ("src/amqp/", &["src/amqp/driver"], "tokio", "the session is sans-io; sockets live in the driver"),
    ("src/amqp/", &["src/amqp/driver"], "Instant::now", "the session is told the time"),
    ("src/broker/queue/", &[], "tokio", "a queue is a plain state machine"),
    ("src/broker/queue/", &[], "Instant::now", "a queue is told the time"),
    ("src/broker/exchange/", &[], "tokio", "routing is plain code"),
    (
        "src/",
        &["src/config/", "src/cli/", "src/perf/", "src/main.rs", "src/broker/sim/"],
        "env::var",
        "config reads the environment",
    ),
    ("src/", &["src/cli/", "src/perf/"], "println!", "a library does not print"),
    ("src/", &["src/perf/"], "thread::sleep", "on an async thread it stops every connection"),
    ("src/", &["src/cli/"], "process::exit", "a library does not end the process"),
];

/// Lines a file may have: beyond it cannot be read in one sitting.
const LINES_MAX: usize = 800;

/// Lines beyond which a file is printed as a candidate for splitting.
const LINES_ADVISED: usize = 500;

/// Files that may name another with `#[path]`.
const PATH_ATTRIBUTES: &[&str] = &["examples/oracle.rs"];

/// Files that may contain unsafe code, each with a reason in its head comment.
const UNSAFE_FILES: &[&str] = &["benches/wire.rs", "src/allocator.rs", "tests/hot_path.rs"];

/// Where tests may wait by the clock: everything else waits for a condition. The oracle's player does what a scenario
/// says, and some say to wait.
const SLEEPERS: &[&str] = &["tests/common/mod.rs", "tests/oracle/answer.rs", "tests/oracle/player.rs"];

/// Lists of rows of the specification, and how many of each may be named by no test: lower it when it can be.
const FEATURES: &[(&str, usize)] = &[
    ("tests/features_p0.txt", 0),
    ("tests/features_p1.txt", 4),
    ("tests/features_p2.txt", 9),
    ("tests/features_traps.txt", 1),
];

/// One source file, split into lines, with comments and string contents taken out of `code`.
struct Source {
    path: String,
    text: String,
    code: Vec<String>,
}

#[test]
fn imports_point_down() {
    let mut findings = Findings::default();
    for source in sources(&["src"]) {
        let Some(from) = module_of(&source.path) else { continue };
        let Some(row) = row(&from) else {
            findings.add(&source, 0, format!("module `{from}` is in no row of LAYERS"));
            continue;
        };
        for (line, module) in imports(&source) {
            let Some(target) = self::row(&module) else { continue };
            if module != from && target >= row {
                findings.add(&source, line, format!("`{from}` (row {row}) imports `{module}` (row {target})"));
            }
            if let Some((.., why)) = STRANGERS.iter().find(|(a, b, _)| *a == from && *b == module) {
                findings.add(&source, line, format!("`{from}` must not know `{module}`: {why}"));
            }
        }
    }
    findings.check();
}

#[test]
fn layers_hold_only_what_they_may_know() {
    let mut findings = Findings::default();
    for source in sources(&["src"]) {
        for (prefix, excepted, word, why) in BANNED {
            if !source.path.starts_with(prefix) || excepted.iter().any(|path| source.path.starts_with(path)) {
                continue;
            }
            for (line, code) in source.numbered().take(source.lines_before_tests()) {
                if code.contains(word) {
                    findings.add(&source, line, format!("`{word}` does not belong here: {why}"));
                }
            }
        }
    }
    findings.check();
}

#[test]
fn files_are_short() {
    let mut findings = Findings::default();
    for source in sources(&["src", "tests", "examples", "benches"]) {
        let lines = source.code.len();
        if lines > LINES_MAX {
            findings.add(&source, lines, format!("{lines} lines; {LINES_MAX} is the most, split it"));
        } else if lines > LINES_ADVISED {
            println!("advice: {} has {lines} lines", source.path);
        }
    }
    findings.check();
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not find itself.
    let in_text = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let in_code = ["dbg!(", "todo!(", "unimplemented!(", "#[ignore", "allow(dead_code)", "allow(unused"];
    let mut findings = Findings::default();
    for source in sources(&["src", "tests", "examples", "benches"]) {
        for (index, text) in source.text.lines().enumerate() {
            if let Some(word) = in_text.iter().find(|word| text.contains(*word)) {
                findings.add(&source, index + 1, format!("`{word}`: do it, or leave it out"));
            }
            if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| text.starts_with(mark)) {
                findings.add(&source, index + 1, "a conflict is left over".to_owned());
            }
        }
        for (line, code) in source.numbered() {
            if let Some(word) = in_code.iter().find(|word| code.contains(*word)) {
                findings.add(&source, line, format!("`{word}` is a leftover"));
            }
        }
    }
    findings.check();
}

#[test]
fn files_open_with_what_they_are() {
    let mut findings = Findings::default();
    for source in sources(&["src", "tests", "examples", "benches"]) {
        if !source.text.starts_with("//!") && !source.text.starts_with("#![doc") {
            findings.add(&source, 1, "open the file with `//!` and what it owns".to_owned());
        }
    }
    findings.check();
}

#[test]
fn exceptions_are_listed() {
    let mut findings = Findings::default();
    for source in sources(&["src", "tests", "examples", "benches"]) {
        for (line, code) in source.numbered() {
            if code.contains("#[path") && !PATH_ATTRIBUTES.contains(&source.path.as_str()) {
                findings.add(&source, line, "a module lives where its name says".to_owned());
            }
            if is_word(code, "unsafe") && !UNSAFE_FILES.contains(&source.path.as_str()) {
                findings.add(&source, line, "unsafe code needs a benchmark and a place in UNSAFE_FILES".to_owned());
            }
            let sleeps = code.contains("sleep(") && source.path.starts_with("tests/");
            if sleeps && !SLEEPERS.contains(&source.path.as_str()) {
                findings.add(&source, line, "tests wait with eventually(), they do not sleep".to_owned());
            }
        }
    }
    findings.check();
}

#[test]
fn no_machine_is_named() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut findings = Findings::default();
    for path in files(Path::new(env!("CARGO_MANIFEST_DIR")), &|_| true) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = relative(&path);
        for (index, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                findings.0.push(format!("{name}:{}: `{place}` is a path of one machine", index + 1));
            }
        }
    }
    findings.check();
}

/// Each list has one row id of the specification per line, those that a test names marked `covered`. A covered row must
/// stay covered, the rows that are not become fewer, and each of those says why.
#[test]
fn covered_rows_stay_covered() {
    let named = rows_named_by_tests();
    let mut listed = BTreeSet::new();
    for (path, open_max) in FEATURES {
        let list = fs::read_to_string(root().join(path)).expect("a list of rows");
        let (mut lost, mut open, mut gained) = (Vec::new(), Vec::new(), Vec::new());
        for line in list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let (id, mark) = line.split_once(' ').unwrap_or((line, ""));
            assert_eq!(row_ids(id).collect::<Vec<_>>(), [id], "{path}: {id} is no id of a row");
            assert!(!mark.trim().is_empty(), "{path}: {id} is neither `covered` nor says why not");
            assert!(listed.insert(id.to_owned()), "{path}: {id} is listed twice");
            match (mark.trim() == "covered", named.contains(id)) {
                (true, false) => lost.push(id),
                (false, true) => gained.push(id),
                (false, false) => open.push(line),
                (true, true) => {}
            }
        }
        println!(
            "{path}: rows named by no test: {}",
            if open.is_empty() { "none".to_owned() } else { open.join("; ") }
        );
        if !gained.is_empty() {
            println!("advice: mark as covered in {path}: {}", gained.join(" "));
        }
        if open.len() < *open_max {
            println!("advice: {path} has {} rows named by no test, FEATURES allows {open_max}", open.len());
        }
        assert!(lost.is_empty(), "{path}: rows that no test names any more: {}", lost.join(" "));
        assert!(open.len() <= *open_max, "{path}: {} rows are named by no test, {open_max} may be", open.len());
    }
}

/// Row ids in the doc comments of test functions, in `src` and `tests`.
fn rows_named_by_tests() -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for source in sources(&["src", "tests"]) {
        let mut comment = String::new();
        for line in source.text.lines() {
            let line = line.trim_start();
            if let Some(text) = line.strip_prefix("///") {
                comment.push_str(text);
                comment.push('\n');
            } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                ids.extend(row_ids(&comment));
            } else if !line.starts_with("#[") {
                comment.clear();
            }
        }
    }
    ids
}

/// Words like `FR-12` and `trap 4`, which counts as `trap-4`. Lists (`trap 2, trap 3`) and ranges (`FR-1..3`) are not
/// understood: every id is written out.
fn row_ids(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace("trap ", "trap-");
    let words: Vec<String> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').map(str::to_owned).collect();
    words.into_iter().filter(|word| {
        let Some((letters, number)) = word.split_once('-') else { return false };
        let is_row = (1..=2).contains(&letters.len()) && letters.chars().all(|c| c.is_ascii_uppercase());
        (is_row || letters == "trap") && !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    })
}

/// The top-level modules a file names: `use crate::a`, `crate::a::b`, `use crate::{a, b::c}`, and `super::` chains
/// that leave its own top-level module.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let text: String = source.code.join("\n");
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` and `some_crate::` are other things.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + "crate::".len()..];
        for module in heads(rest) {
            found.push((line, module));
        }
    }
    let depth = source.path.matches('/').count() - usize::from(source.path.ends_with("/mod.rs"));
    for (line, code) in source.numbered() {
        let inner = usize::from(code.starts_with(' '));
        let chain = "super::".repeat(depth + inner);
        if let Some(at) = code.find(&chain) {
            found.extend(heads(&code[at + chain.len()..]).into_iter().map(|module| (line, module)));
        }
    }
    found
}

/// The first path segments of what follows `crate::`: one, or those of a braced list.
fn heads(rest: &str) -> Vec<String> {
    let segment = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = rest.strip_prefix('{') else { return vec![segment(rest)] };
    let (mut heads, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(segment(list[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

/// The top-level module of a file below `src`; `None` for the crate's root.
fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/")?;
    let name = inside.split('/').next()?.trim_end_matches(".rs");
    (name != "lib").then(|| name.to_owned())
}

fn row(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, row)| *row)
}

fn is_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

impl Source {
    /// Lines up to the unit tests at the foot of the file; none in a file of tests.
    fn lines_before_tests(&self) -> usize {
        if self.path.contains("/tests/") {
            return 0;
        }
        // Not `mod tests;`, which stands at the top among the other modules.
        self.code.iter().position(|code| code.starts_with("mod tests {")).unwrap_or(self.code.len())
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(index, code)| (index + 1, code.as_str()))
    }
}

#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, source: &Source, line: usize, what: String) {
        self.0.push(format!("{}:{line}: {what}", source.path));
    }

    fn check(self) {
        let mut report = String::new();
        for finding in &self.0 {
            let _ = writeln!(report, "  {finding}");
        }
        assert!(self.0.is_empty(), "\n{report}");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// The Rust files below these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let mut sources = Vec::new();
    for folder in folders {
        for path in files(&root().join(folder), &rust) {
            let text = fs::read_to_string(&path).expect("a source file is text");
            sources.push(Source { path: relative(&path), code: code_lines(&text), text });
        }
    }
    sources
}

/// The files below a folder that are part of the project.
fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_foreign = name.starts_with('.') && name != ".ci" || name == "target" || name == "node_modules";
        if is_foreign || entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The lines of a file without comments and without the contents of strings.
fn code_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if c == '"' {
            string_len(rest)
        } else if let Some(hashes) = raw_string_hashes(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            rest[2..].find('\'').map_or(rest.len(), |at| at + 3)
        } else {
            0
        };
        if skip > 0 {
            // Line numbers stay right.
            for _ in rest[..skip].matches('\n') {
                lines.push(String::new());
            }
            rest = &rest[skip..];
            continue;
        }
        match c {
            '\n' => lines.push(String::new()),
            c => lines.last_mut().expect("there is always a line").push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    lines.pop_if(|last| last.is_empty());
    lines
}

/// The length of the string literal that `text` starts with.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The number of `#` if `text` starts with a raw string such as `r#"`.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The rules themselves: a check that finds nothing proves nothing unless it can find something.
#[test]
fn the_rules_find_what_they_look_for() {
    let source =
        |path: &str, text: &str| Source { path: path.to_owned(), code: code_lines(text), text: text.to_owned() };
    let modules = |path: &str, text: &str| -> Vec<String> {
        imports(&source(path, text)).into_iter().map(|(_, module)| module).collect()
    };
    assert_eq!(modules("src/wire/frame.rs", "use crate::broker::Broker;"), ["broker"]);
    assert_eq!(modules("src/wire/frame.rs", "use crate::{time, amqp::{a, b}, server};"), ["time", "amqp", "server"]);
    assert_eq!(modules("src/wire/frame.rs", "let x = crate::amqp::f();"), ["amqp"]);
    assert_eq!(modules("src/wire/frame.rs", "use super::super::broker::Broker;"), ["broker"]);
    assert_eq!(modules("src/wire/frame.rs", "// see crate::amqp\nlet s = \"crate::amqp\";"), Vec::<String>::new());
    assert_eq!(modules("src/wire/mod.rs", "use super::amqp::X;"), ["amqp"]);
    assert_eq!(modules("src/wire/frame.rs", "mod tests {\n    use super::super::table;\n}"), Vec::<String>::new());
    assert_eq!(code_lines("a \"b // c\" d // e\nf r#\"g\"h\"# i\n'\"' j"), ["a  d ", "f  i", " j"]);
    let tested = source("src/wire/frame.rs", "a\n\n#[cfg(test)]\nmod tests {\n    use tokio;\n}\n");
    assert_eq!(tested.lines_before_tests(), 3);
    let ids: Vec<String> = row_ids("FEATURES DL-3, EH-12 and trap 4; not UTF-8-ish or X-y").collect();
    assert_eq!(ids, ["DL-3", "EH-12", "trap-4"]);
    let rows: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    assert_eq!(rows.len(), LAYERS.len(), "a module is in one row");
}
