//! Keeps the arrows between the parts of the house, by reading the paths in `src/`.
//!
//! Each folder below `src/` may name only those below it in [`LAYERS`], each crate that does I/O
//! or brings a world of its own lives in the folder that [`HOMES`] says, and no file grows past
//! [`LONGEST`] lines. Comments and literals do not count, tests beside the code do. The files
//! at the root, `lib.rs` and `main.rs`, wire the parts together and are free.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have.
const LONGEST: usize = 600;

/// Which parts may name which.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "edge", "gate", "session", "wire", "backend", "store", "emulator", "metrics", "config",
            "turn",
        ],
    ),
    ("edge", &["gate", "session", "wire", "backend", "store", "metrics", "config", "turn"]),
    ("gate", &["backend", "store", "metrics", "config", "turn"]),
    ("session", &["backend", "store", "metrics", "config", "turn"]),
    ("wire", &["backend", "store", "metrics", "config", "turn"]),
    ("backend", &["metrics", "config", "turn"]),
    ("store", &["metrics", "config", "turn"]),
    ("emulator", &["config", "turn"]),
    ("metrics", &["turn"]),
    ("config", &["turn"]),
    ("turn", &[]),
];

/// Where a path from outside may stand; one that ends in `_` stands for all that begin so. The
/// first that fits decides.
const HOMES: &[(&str, &[&str])] = &[
    ("warp", &["edge"]),
    ("ractor", &["session"]),
    ("governor", &["gate"]),
    ("prometheus", &["metrics"]),
    ("rusqlite", &["store"]),
    // Bedrock's dialects stream in frames: a format's bytes, no I/O.
    ("aws_smithy_eventstream", &["backend", "emulator", "wire"]),
    ("aws_smithy_types", &["backend", "emulator", "wire"]),
    ("aws_", &["backend"]),
    ("hyper::client", &["backend"]),
    ("hyper_util::client", &["backend"]),
    // Finding a place for a test's files is not reading a setting.
    ("std::env::temp_dir", &["backend", "cli", "config", "edge", "emulator", "session", "store"]),
    ("std::env", &["config"]),
];

/// What the tests of any part may use: a server is tested with a client.
const TESTS_MAY: &[&str] = &["hyper::client", "hyper_util::client"];

/// A path as it stands in a file.
#[derive(Debug, PartialEq, Eq)]
struct Mention {
    line: usize,
    path: String,
}

/// What should not be, and where.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Checks one file; `file` is its path below `src/`.
fn violations(file: &Path, source: &str) -> Vec<Violation> {
    let at = |line: usize, what: String| Violation { file: file.to_owned(), line, what };
    let mut found = Vec::new();
    let lines = source.lines().count();
    if lines > LONGEST {
        found.push(at(LONGEST + 1, format!("{lines} lines, at most {LONGEST}: split it")));
    }
    let module = module_of(file);
    let Some(part) = module.first() else { return found };
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| name == part) else {
        found.push(at(1, format!("`{part}` has no layer: give it one in LAYERS")));
        return found;
    };
    let is_test = module.iter().any(|name| name == "tests");
    for mention in mentions(&code_only(source)) {
        if is_test && TESTS_MAY.iter().any(|path| mention.path.starts_with(path)) {
            continue;
        }
        let problem = match named_part(&mention.path, &module) {
            Some(named) if named != part && !below.contains(&named) => {
                Some(format!("{part} → {named}: the arrow does not run this way"))
            }
            Some(_) => None,
            None => stranger(part, &mention.path),
        };
        found.extend(problem.map(|what| at(mention.line, what)));
    }
    found
}

/// The modules that lead to a file: `gate/keys.rs` is `gate`, `keys`; the roots are none.
fn module_of(file: &Path) -> Vec<String> {
    let stem = file.with_extension("");
    let names = stem.iter().map(|name| name.to_string_lossy().into_owned());
    let mut module: Vec<String> = names.collect();
    let last = module.last().map(String::as_str);
    if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
        module.pop();
    }
    module
}

/// Which part of the house a path leads to, when it leads to one.
fn named_part<'a>(path: &'a str, module: &[String]) -> Option<&'a str> {
    let mut names = path.split("::").peekable();
    let first = names.next()?;
    if first == "crate" {
        return names.next();
    }
    if first != "super" {
        return None;
    }
    let mut ups = 1;
    while names.next_if_eq(&"super").is_some() {
        ups += 1;
    }
    // An inline module is one deeper than its file, so only a part's own name tells the root.
    let named = names.next()?;
    let is_part = LAYERS.iter().any(|(name, _)| *name == named);
    (ups >= module.len() && is_part).then_some(named)
}

/// What is wrong with naming a path from outside in this part, if anything is.
fn stranger(part: &str, path: &str) -> Option<String> {
    let fits = |home: &str| {
        let rest = path.strip_prefix(home);
        rest.is_some_and(|rest| rest.is_empty() || home.ends_with('_') || rest.starts_with("::"))
    };
    let (_, homes) = HOMES.iter().find(|(home, _)| fits(home))?;
    let homeless = !homes.contains(&part);
    homeless.then(|| format!("{part} → {path}: lives in {} only", homes.join(", ")))
}

/// Every path in code without comments and literals, groups spelled out.
fn mentions(code: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut rest = code;
    let mut before = ' ';
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let continues = is_name(before) || before == ':' || before == '$';
        let taken = if is_name(first) && !continues {
            let start = found.len();
            let taken = path_at(rest, String::new(), &mut found);
            let imported = code[..code.len() - rest.len()].trim_end().ends_with("use");
            // A name alone is a variable or a field, unless it is imported.
            if !imported && !rest[..taken].contains("::") {
                found.truncate(start);
            }
            for mention in &mut found[start..] {
                mention.line += line;
            }
            taken
        } else {
            first.len_utf8()
        };
        let (passed, after) = rest.split_at(taken);
        line += passed.matches('\n').count();
        before = passed.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    found
}

/// Reads the path at the start of `text`, continuing `path`, and says how long it is. Lines are
/// counted from 0 at the start of `text`.
fn path_at(text: &str, mut path: String, found: &mut Vec<Mention>) -> usize {
    let mut at = 0;
    loop {
        let name = text[at..].find(|next| !is_name(next)).unwrap_or(text.len() - at);
        path.push_str(&text[at..at + name]);
        at += name;
        let gap = text[at..].len() - text[at..].trim_start().len();
        let Some(next) = text[at + gap..].strip_prefix("::") else { break };
        let after = text.len() - next.trim_start().len();
        match next.trim_start().chars().next() {
            Some('{') => return after + group_at(&text[after..], &path, (text, after), found),
            Some(start) if is_name(start) => {
                path.push_str("::");
                at = after;
            }
            _ => break,
        }
    }
    found.push(Mention { line: 0, path });
    at
}

/// Reads a group `{a, b::{c, d}}` behind `prefix` and says how long it is. `origin` is the text
/// that lines are counted in, and where in it the group begins.
fn group_at(text: &str, prefix: &str, origin: (&str, usize), found: &mut Vec<Mention>) -> usize {
    let (whole, offset) = origin;
    let mut at = 1;
    while let Some(next) = text[at..].chars().next() {
        if next == '}' {
            return at + 1;
        }
        if !is_name(next) {
            at += next.len_utf8();
            continue;
        }
        let start = found.len();
        let taken = path_at(&text[at..], format!("{prefix}::"), found);
        let line = whole[..offset + at].matches('\n').count();
        for mention in &mut found[start..] {
            mention.line += line;
        }
        at += taken;
    }
    at
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The source with comments and the insides of literals blanked, line for line.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let blank = if is_name(before) { 0 } else { raw_text_len(rest) };
        let blank = if blank > 0 { blank } else { blank_len(rest) };
        let taken = if blank > 0 { blank } else { first.len_utf8() };
        let (passed, after) = rest.split_at(taken);
        if blank > 0 {
            code.extend(passed.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(passed);
        }
        before = passed.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    code
}

/// How long the raw string at the start of `text` is; 0 when there is none.
fn raw_text_len(text: &str) -> usize {
    let after_r = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    let Some(after_r) = after_r else { return 0 };
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let Some(inside) = after_r[hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    text.len() - inside.len() + length
}

/// How long the comment, text or character at the start of `text` is; 0 when there is none.
fn blank_len(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_len(text);
    }
    if let Some(inside) = text.strip_prefix('"') {
        return 1 + quoted_len(inside, '"');
    }
    let Some(inside) = text.strip_prefix('\'') else { return 0 };
    let mut letters = inside.chars();
    match (letters.next(), letters.next()) {
        (Some('\\'), _) => 1 + quoted_len(inside, '\''),
        (Some(letter), Some('\'')) => letter.len_utf8() + 2,
        _ => 0, // a lifetime
    }
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let here = &text[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// How long a quoted text is, from behind its first quote to behind its last.
fn quoted_len(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in inside.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == quote {
            return at + 1;
        }
    }
    inside.len()
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn told(file: &str, source: &str) -> Vec<String> {
    violations(Path::new(file), source).iter().map(ToString::to_string).collect()
}

#[test]
fn the_arrows_run_one_way_and_strangers_stay_at_home() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src);
    assert!(!files.is_empty(), "no sources found");
    let mut found = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("sources are UTF-8");
        let below = file.strip_prefix(&src).expect("found below src");
        found.extend(violations(below, &source).iter().map(|one| format!("src/{one}")));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn an_arrow_that_runs_upwards_is_found_where_it_stands() {
    let source = "//! Keys.\n\nuse crate::session::Sessions;\n";
    let expected = "gate/keys.rs:3: gate → session: the arrow does not run this way";
    assert_eq!(told("gate/keys.rs", source), [expected]);
}

#[test]
fn a_path_in_a_group_or_in_the_middle_of_a_line_is_found() {
    let grouped = "use crate::{\n    config::Config,\n    edge::{Edge, listener},\n};\n";
    let expected = "wire/mod.rs:3: wire → edge: the arrow does not run this way";
    assert_eq!(told("wire/mod.rs", grouped), [expected, expected]);
    let inline = "fn f() -> bool { crate::cli::loud() }";
    assert_eq!(told("store/mod.rs", inline).len(), 1);
    let upwards = "use super::super::edge::Edge;";
    assert_eq!(told("gate/keys.rs", upwards).len(), 1);
}

#[test]
fn nobody_but_cli_imports_the_emulator_and_it_imports_almost_nobody() {
    let source = "use crate::emulator::Emulator;";
    assert!(told("cli/demo.rs", source).is_empty());
    assert_eq!(told("session/tests.rs", source).len(), 1);
    assert_eq!(told("emulator/mod.rs", "use crate::metrics::Metrics;").len(), 1);
    assert!(told("emulator/mod.rs", "use crate::{config, turn::Usage};").is_empty());
}

#[test]
fn a_crate_away_from_home_is_found() {
    let expected = "session/actor.rs:1: session → warp::Filter: lives in edge only";
    assert_eq!(told("session/actor.rs", "use warp::Filter;"), [expected]);
    assert!(told("edge/mod.rs", "use warp::Filter;").is_empty());
    assert_eq!(told("edge/mod.rs", "let e: aws_sdk_sts::Error = x;").len(), 1);
    assert!(told("emulator/frames.rs", "use aws_smithy_eventstream::frame;").is_empty());
    assert_eq!(told("edge/mod.rs", "use hyper_util::{client::legacy::Client, rt};").len(), 1);
    assert!(told("edge/mod.rs", "use hyper_util::rt::TokioIo;").is_empty());
    assert_eq!(told("edge/mod.rs", "use hyper::client::conn::http2;").len(), 1);
    assert!(told("edge/listener/tests/mod.rs", "use hyper::client::conn::http2;").is_empty());
    assert_eq!(told("cli/mod.rs", "use prometheus as numbers;").len(), 1);
    assert!(told("edge/mod.rs", "let prometheus = routes.prometheus;").is_empty());
}

#[test]
fn only_config_reads_the_environment() {
    assert_eq!(told("backend/aws.rs", "use std::{env, fs};").len(), 1);
    assert_eq!(told("cli/mod.rs", "let home = std::env::var(\"HOME\");").len(), 1);
    assert!(told("config/mod.rs", "use std::env;").is_empty());
    assert!(told("store/tests.rs", "let here = std::env::temp_dir();").is_empty());
}

#[test]
fn comments_and_literals_are_not_paths() {
    let source = r##"
        //! See [`Edge`](crate::edge::Edge), and /* crate::cli */.
        /* crate::edge /* nested crate::cli */ warp::Filter */
        const A: &str = "crate::edge \" warp::x";
        const B: &str = r#"crate::edge "quoted" warp::x"#;
        const C: (char, &'static str) = ('"', "crate::cli");
        use self::warp::Loom;
    "##;
    assert!(told("turn/mod.rs", source).is_empty(), "{:?}", told("turn/mod.rs", source));
}

#[test]
fn a_part_without_a_layer_and_a_file_without_an_end_are_found() {
    assert_eq!(told("utils.rs", "").len(), 1);
    assert!(told("main.rs", "use outcrop::cli; use std::env;").is_empty());
    assert_eq!(told("lib.rs", &"\n".repeat(LONGEST + 1)).len(), 1);
}
