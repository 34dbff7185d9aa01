//! `docs/guarantees.md` names a test for everything that it says. Here is what keeps it from naming one
//! that is gone, or that nobody runs.

use std::{fs, path::Path};

use devstack::workspace_root;

/// How a line of the page that is part of a table begins.
const ROW: &str = "| ";
const HEADING: &str = "| what could go wrong |";

#[test]
fn every_guarantee_names_tests_that_exist_and_run() {
    let folder = workspace_root().join("docs");
    let page = fs::read_to_string(folder.join("guarantees.md")).expect("the page");
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with(ROW) && !line.starts_with(HEADING)).collect();

    let mut wrong = Vec::new();
    for row in &rows {
        let tests = tests(row);
        if tests.is_empty() {
            wrong.push(format!("no test: {row}"));
        }
        for (name, link) in tests {
            if !runs(&folder.join(link), name) {
                wrong.push(format!("no test `{name}` in {link}"));
            }
        }
    }

    assert!(rows.len() > 40, "the page is not read as it is written: {} rows", rows.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The tests that a row names, each with the file that it says it is in.
fn tests(row: &str) -> Vec<(&str, &str)> {
    row.split("[`")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("`](")?;
            Some((name, rest.split_once(')')?.0))
        })
        .collect()
}

/// Whether a source has a test of that name which is not left out.
fn runs(path: &Path, name: &str) -> bool {
    let source = fs::read_to_string(path).unwrap_or_default();
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    // The line that the name stands in comes first.
    let lines = before.rsplit('\n').skip(1).map(str::trim_start);
    let attributes: Vec<&str> = lines.take_while(|line| line.starts_with('#')).collect();
    let has = |start: &str| attributes.iter().any(|line| line.starts_with(start));
    (has("#[test]") || has("#[tokio::test")) && !has("#[ignore")
}
