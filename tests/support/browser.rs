//! A real browser: Debian's Chromium, driven by its own driver. Each test binary uses a part of it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities as _;
use thirtyfour::error::WebDriverErrorInner;
use thirtyfour::prelude::*;

/// Where pages are drawn to.
const DRAWN: &str = "target/browser-tests";

/// The accessibility checker, as its npm package ships it.
const AXE: &str = "target/browser-tests/node_modules/axe-core/axe.min.js";

/// A browser with a profile of its own. It ends with the test.
pub struct Browser {
    pub driver: WebDriver,
    /// Where downloads go.
    pub downloads: PathBuf,
    _driver_process: Ended,
    _profile: TempDir,
}

/// A process that ends with this value, and with it all that it started: a driver that is killed leaves its browser.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// The first of these programs that is there.
fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names.iter().find_map(|name| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
    });
    found.unwrap_or_else(|| {
        panic!(
            "{} is not installed: scripts/test installs it (Debian: chromium and chromium-driver)",
            names.join(" or ")
        )
    })
}

impl Browser {
    pub async fn start() -> Self {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
        let profile = tempfile::tempdir().unwrap();
        let downloads = profile.path().join("downloads");
        std::fs::create_dir(&downloads).unwrap();
        let (process, port) = start_driver();
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(&chromium.to_string_lossy()).unwrap();
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
        ] {
            capabilities.add_arg(argument).unwrap();
        }
        capabilities.add_arg(&format!("--user-data-dir={}", profile.path().join("profile").display())).unwrap();
        let preferences = json!({
            "download.default_directory": downloads,
            "download.prompt_for_download": false,
        });
        capabilities.add_experimental_option("prefs", preferences).unwrap();
        capabilities.set("goog:loggingPrefs", json!({ "browser": "ALL" })).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await.unwrap();
        Self { driver, downloads, _driver_process: process, _profile: profile }
    }

    /// Ends the browser, after everything that it complained about was told.
    pub async fn end(self) {
        self.expect_no_complaint().await;
        self.quit().await;
    }

    /// Ends the browser where it was right to complain, as it does of every page with an error's status.
    pub async fn quit(self) {
        self.driver.quit().await.unwrap();
    }

    /// Fails if the console holds a warning or an error: of a script, of the security policy, of a missing file.
    pub async fn expect_no_complaint(&self) {
        let log = self.driver.browser_log().await.unwrap();
        let complaints: Vec<String> = log.iter().map(|entry| format!("{entry:?}")).collect();
        assert!(complaints.is_empty(), "the browser complains:\n{}", complaints.join("\n"));
    }

    /// Looks as if on a phone, or on a desk.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", metrics).await.unwrap();
    }

    /// Prefers `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.driver.cdp().send_raw("Emulation.setEmulatedMedia", media).await.unwrap();
    }

    /// Goes to a page, and tells how long it took until it was complete, in milliseconds.
    pub async fn open(&self, url: &str) -> f64 {
        self.driver.goto(url).await.unwrap();
        let took = "const [entry] = performance.getEntriesByType('navigation'); return entry.domContentLoadedEventEnd;";
        self.driver.execute(took, vec![]).await.unwrap().convert().unwrap()
    }

    /// What axe-core finds, of serious and critical impact, in a line each.
    pub async fn serious_barriers(&self) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(AXE);
        let axe = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}: scripts/test installs axe-core there", path.display()));
        self.driver.execute(axe, vec![]).await.unwrap();
        let run = "const done = arguments[arguments.length - 1]; axe.run().then(found => done({
            passed: found.passes.length,
            violations: found.violations.map(one => ({
                impact: one.impact, id: one.id, nodes: one.nodes.map(node => node.html + ' ' + node.failureSummary) })) }));";
        let found: Value = self.driver.execute_async(run, vec![]).await.unwrap().convert().unwrap();
        assert!(found["passed"].as_u64() > Some(10), "axe-core looked at next to nothing: {found}");
        let found = found["violations"].as_array().unwrap();
        let is_serious = |one: &&Value| matches!(one["impact"].as_str(), Some("serious" | "critical"));
        found.iter().filter(is_serious).map(|one| format!("{}: {}", one["id"], one["nodes"])).collect()
    }

    /// How much wider the page is than the screen, in pixels: one then has to scroll sideways.
    pub async fn overflow(&self) -> i64 {
        let wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;";
        self.driver.execute(wider, vec![]).await.unwrap().convert().unwrap()
    }

    /// Draws the whole page into `target/browser-tests/<name>.png`, for people to look at.
    pub async fn draw(&self, name: &str) {
        let whole = json!({ "captureBeyondViewport": true });
        let shot = self.driver.cdp().send_raw("Page.captureScreenshot", whole).await.unwrap();
        keep(name, shot["data"].as_str().unwrap());
    }

    /// Draws what is on the screen into `target/browser-tests/<name>.png`, and tells what there is to see: how many
    /// colours, and how bright the most frequent one is, from 0 to 255. The browser itself reads the picture, on an empty
    /// page: it is not on that of before any more.
    pub async fn look(&self, name: &str) -> (u64, f64) {
        let shot = self.driver.cdp().send_raw("Page.captureScreenshot", json!({})).await.unwrap();
        let image = shot["data"].as_str().unwrap();
        keep(name, image);
        self.driver.goto("about:blank").await.unwrap();
        let read = "const [data, done] = arguments; const image = new Image(); image.onload = () => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
            const counts = new Map();
            for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
            const [common] = [...counts].reduce((most, one) => (one[1] > most[1] ? one : most));
            const [red, green, blue] = [0, 8, 16].map(bits => (common >>> bits) & 255);
            done([counts.size, 0.2126 * red + 0.7152 * green + 0.0722 * blue]);
        }; image.src = 'data:image/png;base64,' + data;";
        self.driver.execute_async(read, vec![json!(image)]).await.unwrap().convert().unwrap()
    }

    /// Moves the focus on with the tabulator key alone until it stands on what is meant. Where it stands can be seen.
    pub async fn tab_to(&self, selector: &str) -> WebElement {
        for _ in 0..80 {
            let stands = format!("return document.activeElement.matches({});", json!(selector));
            if self.driver.execute(stands, vec![]).await.unwrap().convert().unwrap() {
                let outline = "return getComputedStyle(document.activeElement).outlineStyle;";
                let outline: String = self.driver.execute(outline, vec![]).await.unwrap().convert().unwrap();
                assert_ne!(outline, "none", "nobody sees that the focus is on {selector}");
                return self.driver.active_element().await.unwrap();
            }
            self.type_keys(Key::Tab).await;
        }
        panic!("the tabulator key does not lead to {selector}");
    }

    /// Presses keys, wherever the focus is.
    pub async fn type_keys(&self, keys: impl Into<TypingData>) {
        self.driver.action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// What is on the clipboard.
    pub async fn clipboard(&self) -> String {
        let allowed = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
        self.driver.cdp().send_raw("Browser.grantPermissions", allowed).await.unwrap();
        let read = "const [done] = arguments; navigator.clipboard.readText().then(done, error => done('' + error));";
        self.driver.execute_async(read, vec![]).await.unwrap().convert().unwrap()
    }

    /// The text of the first element that is found, once it is there.
    pub async fn text(&self, selector: &str) -> String {
        loop {
            match self.element(selector).await.text().await {
                Err(error) if is_stale(&error) => {}
                read => return read.unwrap(),
            }
        }
    }

    /// Waits until the first element that is found says this: what a press leads to may still be on its way.
    pub async fn expect_text(&self, selector: &str, part: &str) {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let text = self.text(selector).await;
            if text.contains(part) {
                return;
            }
            assert!(Instant::now() < deadline, "{selector} does not say `{part}`, it says `{text}`");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The first element that is found, once it is there.
    pub async fn element(&self, selector: &str) -> WebElement {
        let query = self.driver.query(By::Css(selector)).wait(Duration::from_secs(15), Duration::from_millis(50));
        query.first().await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Presses what is found.
    pub async fn press(&self, selector: &str) {
        loop {
            let element = self.element(selector).await;
            let pressed = async {
                element.scroll_into_view().await?;
                element.click().await
            };
            match pressed.await {
                Err(error) if is_stale(&error) => {}
                pressed => return pressed.unwrap(),
            }
        }
    }

    /// Types into a field, in place of what stands in it.
    pub async fn fill(&self, id: &str, text: &str) {
        let field = self.element(&format!("[id='{id}']")).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }
}

/// Whether an element was replaced between finding it and using it, as live pages do: it is to be found anew.
fn is_stale(error: &WebDriverError) -> bool {
    matches!(error.as_inner(), WebDriverErrorInner::StaleElementReference(_))
}

fn keep(name: &str, image: &str) {
    let image = BASE64.decode(image).unwrap();
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(DRAWN).join(format!("{name}.png")), image).unwrap();
}

fn start_driver() -> (Ended, u16) {
    let driver = program(&["chromedriver"]);
    let mut process = Ended(
        Command::new(driver)
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let output = BufReader::new(process.0.stdout.take().unwrap());
    let mut said = Vec::new();
    for line in output.lines().map_while(Result::ok) {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return (process, port.trim_end_matches('.').parse().unwrap());
        }
        said.push(line);
    }
    panic!("chromedriver does not start:\n{}", said.join("\n"));
}
