//! The documentation is a site: it is built here with mdBook itself, and every link in it leads somewhere.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking, and its helpers are part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mdbook_driver::MDBook;
use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

/// What a page links to: `href` and `src` of elements, in HTML.
fn links(html: &str) -> BTreeSet<String> {
    let link = Regex::new(r#"(?:href|src)="([^"]+)""#).unwrap();
    link.captures_iter(html).map(|found| found[1].replace("&amp;", "&")).collect()
}

/// The places within a page that a link can name.
fn anchors(html: &str) -> BTreeSet<String> {
    let id = Regex::new(r#"\bid="([^"]+)""#).unwrap();
    id.captures_iter(html).map(|found| found[1].to_owned()).collect()
}

/// The links of one page that lead nowhere.
fn broken(page: &Path) -> Vec<String> {
    let html = fs::read_to_string(page).unwrap();
    let leads_nowhere = |link: &String| {
        if Regex::new("^[a-z]+:").unwrap().is_match(link) {
            return false;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
        if !target.is_file() {
            return true;
        }
        !anchor.is_empty() && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor)
    };
    links(&html).into_iter().filter(leads_nowhere).map(|link| format!("{}: {link}", page.display())).collect()
}

#[test]
fn the_book_builds_and_no_link_in_it_is_broken() {
    let out = tempfile::tempdir().unwrap();
    let mut book = MDBook::load(root().join("docs")).unwrap();
    book.config.build.build_dir = out.path().join("book");
    book.build().unwrap();
    // 404.html is served from anywhere, so its links are meant for the site's root.
    let pages: Vec<_> =
        files(&out.path().join("book"), "html").into_iter().filter(|page| !page.ends_with("404.html")).collect();
    assert!(pages.len() > 10, "{pages:?}");
    let broken: Vec<_> = pages.iter().flat_map(|page| broken(page)).collect();
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_page_stands_in_the_table_of_contents() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let pages = pages.map(|name| name.into_string().unwrap());
    let missing: Vec<_> = pages
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "md") && name != "SUMMARY.md")
        .filter(|name| !summary.contains(&format!("({name})")))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// What the README and CONTRIBUTING link to.
#[test]
fn the_readme_leads_to_what_there_is() {
    let link = Regex::new(r"\]\(([^)#]+)[^)]*\)").unwrap();
    for file in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let missing: Vec<_> = link
            .captures_iter(&text)
            .map(|found| found[1].to_owned())
            .filter(|target| !target.contains("://") && !root().join(target).exists())
            .collect();
        assert_eq!(missing, Vec::<String>::new(), "{file}");
    }
}

/// Examples in the documentation are what an API server takes: each whole object passes `hearthgate check`.
#[test]
fn every_whole_object_in_the_documentation_is_valid() {
    let block = Regex::new(r"(?s)```yaml\n(.*?)```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for page in files(&root().join("docs"), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for block in block.captures_iter(&text) {
            for document in block[1].split("\n---\n").filter(|text| text.contains("apiVersion: hearthgate.dev/")) {
                let name = page.file_stem().unwrap().to_str().unwrap();
                fs::write(folder.path().join(format!("{name}-{count}.yaml")), document).unwrap();
                count += 1;
            }
        }
    }
    assert!(count > 3);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let checked =
            assert_cmd::Command::cargo_bin("hearthgate").unwrap().args(["check", "-o", "json"]).arg(&path).output();
        let output = String::from_utf8(checked.unwrap().stdout).unwrap();
        // Alone, an object misses what it refers to; its own form must be right.
        assert!(!output.contains("\"HG1001\"") && !output.contains("\"HG1008\""), "{}: {output}", path.display());
    }
}

#[test]
fn every_picture_says_in_words_what_it_shows_fetches_nothing_and_is_shown_somewhere() {
    let pages: String =
        files(&root().join("docs"), "md").iter().map(|page| fs::read_to_string(page).unwrap()).collect();
    let pictures = files(&root().join("docs/pictures"), "svg");
    assert!(pictures.len() >= 3, "{pictures:?}");
    for picture in pictures {
        let name = picture.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&picture).unwrap();
        for part in ["<title id=", "<desc id=", "role=\"img\"", "prefers-color-scheme: dark"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
        let own = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.contains("http") && !own.contains("<script") && !own.contains("@import"), "{name}");
        assert!(pages.contains(&format!("(pictures/{name})")), "{name} is on no page");
    }
}
