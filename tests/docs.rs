//! What the documentation names is there: dependencies, paths, headers, verbs, settings, files.
//!
//! Prose cannot be tested, names can. Where the program has a list, the test asks the list; where
//! it has none that can be reached from here, it reads the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use outcrop::backend::{KINDS, Kind, fields};
use outcrop::cli::{self, Cli};
use outcrop::turn::FailureKind;
use outcrop::wire::{FORMATS, openai_chat};

/// The pages that name things.
const PAGES: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "docs/agentcore.md",
    "docs/agents.md",
    "docs/cli.md",
    "docs/codewhisperer.md",
    "docs/configuration.md",
    "docs/dependencies.md",
    "docs/emulator.md",
    "docs/formats.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/responses.md",
    "docs/sessions.md",
    "docs/store.md",
    "docs/voice.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text between one mark and the next.
fn section<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let (_, after) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    after.split_once(to).map_or(after, |(section, _)| section)
}

/// What stands between single backticks, outside of fenced blocks.
fn spans(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

/// The lines of the fenced blocks in a language.
fn fenced<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let blocks = page.split("```").skip(1).step_by(2);
    let wanted = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    wanted.flat_map(str::lines).collect()
}

/// The first cells of a page's tables, without their heads.
fn first_cells(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" |").next()).collect()
}

fn rust_sources() -> String {
    let mut folders = vec![root().join("src")];
    let mut joined = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                joined += &fs::read_to_string(path).expect("sources are UTF-8");
            }
        }
    }
    joined
}

/// The names in a table of a TOML file, read by line: every entry of ours is a line.
fn entries(toml: &str, table: &str) -> BTreeSet<String> {
    let head = format!("\n[{table}]\n");
    let Some((_, after)) = toml.split_once(&head) else { return BTreeSet::new() };
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    names.collect()
}

#[test]
fn every_dependency_is_explained_and_nothing_else() {
    let manifest = read("Cargo.toml");
    let page = read("docs/dependencies.md");
    for table in ["dependencies", "dev-dependencies"] {
        let explained = section(&page, &format!("## [{table}]\n"), "\n## ");
        let explained = first_cells(explained).into_iter().filter_map(|cell| {
            let name = cell.strip_prefix('`')?.strip_suffix('`')?;
            Some(name.to_owned())
        });
        assert_eq!(explained.collect::<BTreeSet<_>>(), entries(&manifest, table), "[{table}]");
    }
}

/// The patterns of paths in the table of routes, and those of the formats.
fn routes() -> Vec<String> {
    let table = read("src/edge/routes.rs");
    let table = section(&table, "const ROUTES", "\n];");
    let paths = table.split("paths: &[").skip(1).filter_map(|after| after.split(']').next());
    let quoted = paths.flat_map(|list| list.split('"').skip(1).step_by(2));
    let of_formats = FORMATS.iter().flat_map(|format| format.endpoints());
    let of_formats = of_formats.flat_map(|endpoint| endpoint.paths.iter().copied());
    quoted.chain(of_formats).map(str::to_owned).collect()
}

fn is_route(path: &str, routes: &[String]) -> bool {
    let path = path.trim_end_matches('/');
    let segments: Vec<_> = path.split('/').collect();
    path.is_empty()
        || routes.iter().any(|route| {
            let pattern: Vec<_> = route.split('/').collect();
            pattern.len() == segments.len()
                && pattern.iter().zip(&segments).all(|(p, s)| p.starts_with('{') || p == s)
        })
}

#[test]
fn every_path_that_the_readme_asks_for_is_a_route() {
    let (page, routes) = (read("README.md"), routes());
    assert!(routes.iter().any(|route| route == "/v1/chat/completions"), "{routes:?}");
    let ends = |c: char| c.is_whitespace() || "\"'`?".contains(c);
    let asked = page.split("$OUTCROP").skip(1).filter_map(|after| after.split(ends).next());
    let mut seen = 0;
    for path in asked.filter(|path| path.starts_with('/')) {
        seen += 1;
        assert!(is_route(path, &routes), "{path} is no route");
    }
    assert!(seen >= 10, "only {seen} paths found");
    // `/api` and `/v1` are what clients are pointed at; the emulator has paths of its own.
    let is_ours = |path: &&str| path.starts_with('/') && !["/api", "/v1"].contains(path);
    for path in spans(&page).into_iter().filter(is_ours) {
        assert!(is_route(path, &routes), "{path} is no route");
    }
}

#[test]
fn every_dialect_and_every_path_of_one_is_documented() {
    let (readme, formats) = (read("README.md"), read("docs/formats.md"));
    let dialects = section(&formats, "\n## Dialects\n", "\n### ");
    let (paths, named) = (section(&readme, "\n## Paths\n", "\n## "), spans(dialects));
    for format in FORMATS {
        let target = format.target();
        assert!(target.is_none_or(|target| named.contains(&target)), "{target:?}");
        for endpoint in format.endpoints() {
            assert!(named.contains(&endpoint.name), "{} is not in formats.md", endpoint.name);
            assert!(spans(paths).contains(&endpoint.name), "{} not in README", endpoint.name);
        }
    }
    let listed = dialects.lines().filter_map(|row| row.rsplit('|').nth(1)).flat_map(spans);
    let targets = FORMATS.iter().filter_map(|format| format.target());
    let listed: BTreeSet<_> = listed.filter(|span| *span != "target_format").collect();
    assert_eq!(listed, targets.collect());
}

#[test]
fn every_header_that_the_readme_lists_is_in_the_sources() {
    let (page, sources) = (read("README.md"), rust_sources().to_lowercase());
    let tables = section(&page, "\n## Headers\n", "\n## ");
    let named: Vec<_> = first_cells(tables).into_iter().flat_map(spans).collect();
    assert!(named.len() >= 15, "{named:?}");
    for name in named {
        let name = name.split(':').next().unwrap_or(name);
        // Some are known to the `http` crate under names of constants.
        let constant = name.replace('-', "_");
        let is_there = sources.contains(&format!("\"{name}\"")) || sources.contains(&constant);
        assert!(is_there, "{name} is not in the sources");
    }
}

/// Follows the words of a command line as far as they are verbs and flags.
fn check_command(line: &str, words: &str) {
    let mut command = Cli::command();
    command.build();
    let mut at = &command;
    for word in words.split_whitespace() {
        if let Some(flag) = word.strip_prefix("--") {
            let mut known = at.get_arguments().filter_map(|argument| argument.get_long());
            assert!(known.any(|long| long == flag), "`{line}`: no flag --{flag}");
        } else if let Some(verb) = at.find_subcommand(word) {
            at = verb;
        } else {
            assert!(!at.has_subcommands(), "`{line}`: no verb {word}");
        }
    }
}

#[test]
fn every_command_that_the_pages_show_exists() {
    let mut seen = 0;
    for page in PAGES.iter().filter(|page| **page != "CHANGELOG.md") {
        let page = read(page);
        let shown = fenced(&page, "sh").into_iter().chain(spans(&page));
        for line in shown {
            let ways = ["target/release/outcrop ", "cargo run --release -- "];
            let found = ways.iter().find_map(|way| line.split_once(way));
            let words = found.map(|(_, words)| words).or_else(|| line.strip_prefix("outcrop "));
            let Some(words) = words.and_then(|words| words.split(" >>").next()) else { continue };
            // `outcrop listening on …` is what it prints.
            if words.starts_with("listening") {
                continue;
            }
            check_command(line, words);
            seen += 1;
        }
    }
    assert!(seen >= 15, "only {seen} commands found");
    let makefile = read("Makefile");
    for page in PAGES {
        let page = read(page);
        let shown = fenced(&page, "sh").into_iter().chain(spans(&page));
        for target in shown.filter_map(|line| line.strip_prefix("make ")) {
            assert!(makefile.contains(&format!("\n{target}:")), "no target {target}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a switch of the test, not a setting of the program")]
fn is_update() -> bool {
    std::env::var("UPDATE").is_ok_and(|value| value == "1")
}

#[test]
fn the_page_of_the_command_line_is_the_programs_own() {
    let page = cli::reference();
    if is_update() {
        fs::write(root().join("docs/cli.md"), &page).expect("the page can be written");
    }
    let stale =
        "docs/cli.md is not of this program; UPDATE=1 cargo test --test docs writes it anew";
    // A line at a time: nobody reads two whole pages in a test's message.
    let kept = read("docs/cli.md");
    for (kept, made) in kept.lines().zip(page.lines()) {
        assert_eq!(kept, made, "{stale}");
    }
    assert!(kept == page, "{stale}");
}

#[test]
fn the_matrix_of_fields_is_the_programs_own() {
    let page = read("docs/formats.md");
    let matrix = section(&page, "\n## Fields and backends\n", "\n## ");
    let shown: Vec<_> = matrix.lines().filter(|line| line.starts_with('|')).collect();
    let kinds: Vec<_> = KINDS.iter().filter(|kind| !kind.fields.is_empty()).collect();
    let names: Vec<_> = kinds.iter().map(|kind| format!("`{}`", kind.name)).collect();
    let mut expected = vec![
        format!("| field | {} |", names.join(" | ")),
        format!("|{}", "---|".repeat(1 + kinds.len())),
    ];
    for (place, member) in fields::MEMBERS.iter().enumerate() {
        let treatment = |kind: &&Kind| kind.fields[place].1.as_str();
        let treatments: Vec<_> = kinds.iter().map(treatment).collect();
        let member = match *member {
            fields::ANY_OTHER => member.to_string(),
            name => format!("`{name}`"),
        };
        expected.push(format!("| {member} | {} |", treatments.join(" | ")));
    }
    assert_eq!(shown, expected);
    let refused = section(&page, "- **Refused:** `", "\n");
    for member in openai_chat::REFUSED {
        assert!(format!("`{refused}").contains(&format!("`{member}`")), "{member}");
    }
}

#[test]
fn every_error_is_listed_with_its_status_and_explained() {
    let (readme, operations) = (read("README.md"), read("docs/operations.md"));
    let statuses = section(&readme, "\n## Errors\n", "\n## ");
    let explained = section(&operations, "\n## By error code\n", "\nNot an error");
    let explained: BTreeSet<_> = first_cells(explained).into_iter().flat_map(spans).collect();
    let codes: BTreeSet<_> = FailureKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(explained, codes);
    for kind in FailureKind::ALL {
        let row = format!("\n| {} | ", kind.status());
        let row = section(statuses, &row, "\n");
        assert!(spans(row).contains(&kind.code()), "{} is not at {}", kind.code(), kind.status());
    }
    let listed = statuses.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let listed: usize = listed.skip(1).map(|row| spans(row).len()).sum();
    assert_eq!(listed, codes.len());
}

/// `section.key` where the section is one of the configuration's.
fn setting(span: &str) -> Option<(&str, &str)> {
    let (section, key) = span.split_once('.')?;
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let sections = [
        "server",
        "session",
        "store",
        "turn",
        "limits",
        "aws",
        "openai",
        "codewhisperer",
        "log",
        "routing",
        "discovery",
        "emulator",
    ];
    (is_key && sections.contains(&section)).then_some((section, key))
}

#[test]
fn every_setting_that_is_named_is_documented() {
    let configuration = read("docs/configuration.md");
    let crate_docs = read("src/lib.rs");
    let named = [
        "README.md",
        "docs/operations.md",
        "docs/agents.md",
        "docs/codewhisperer.md",
        "docs/store.md",
    ];
    let pages = named.map(read).into_iter().chain([crate_docs]).collect::<Vec<_>>();
    let settings: Vec<_> = pages.iter().flat_map(|page| spans(page)).filter_map(setting).collect();
    assert!(settings.len() >= 30, "only {} settings found", settings.len());
    for (table, key) in settings {
        let documented = section(&configuration, &format!("\n### `[{table}]`\n"), "\n### ");
        assert!(documented.contains(&format!("\n| `{key}` |")), "no setting {table}.{key}");
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for page in PAGES {
        let folder = root().join(page).parent().map(PathBuf::from).unwrap_or_default();
        let text = read(page);
        let prose: String = text.split("```").step_by(2).collect();
        for after in prose.split("](").skip(1) {
            let target = after.split(')').next().unwrap_or_default();
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if path.starts_with("http") {
                continue;
            }
            let file = if path.is_empty() { root().join(page) } else { folder.join(path) };
            assert!(file.exists(), "{page}: {target} leads nowhere");
            let there = fs::read_to_string(&file).unwrap_or_default().to_lowercase();
            let mut heads = there.lines().filter(|line| line.starts_with('#'));
            let is_head = |head: &str| head.trim_start_matches('#').trim().replace(' ', "-");
            assert!(
                anchor.is_empty() || heads.any(|head| is_head(head) == anchor),
                "{page}: {path} has no {anchor}"
            );
        }
    }
}

#[test]
fn every_source_file_that_is_named_exists() {
    let crate_docs = read("src/lib.rs");
    let is_file = |span: &&str| span.contains('/') && span.ends_with(".rs");
    let below_src = spans(&crate_docs).into_iter().filter(is_file);
    let below_src = below_src.filter(|path| !path.starts_with("tests/"));
    let mut seen = 0;
    for path in below_src {
        seen += 1;
        assert!(root().join("src").join(path).is_file(), "no src/{path}");
    }
    assert!(seen >= 10, "only {seen} files found");
    let readme = read("README.md");
    for path in spans(&readme).into_iter().filter(is_file) {
        assert!(root().join(path).is_file(), "no {path}");
    }
    let tree = section(&readme, "```text\nsrc/\n", "```");
    let shown = tree.lines().filter_map(|line| line.split_whitespace().next());
    let shown: BTreeSet<_> = shown.map(|name| name.trim_end_matches('/').to_owned()).collect();
    let there = fs::read_dir(root().join("src")).expect("there are sources").flatten();
    let there = there.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert_eq!(shown, there.collect());
}
