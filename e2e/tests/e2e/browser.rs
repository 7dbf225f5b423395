//! The page at /docs in a real browser: Chromium, driven through ChromeDriver (W3C WebDriver).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use fantoccini::{Client, ClientBuilder, Locator, error::CmdError};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use e2e::{System, free_port};

#[test]
#[cfg_attr(
    not(has_chromedriver),
    ignore = "needs chromedriver; on Debian: apt-get install chromium chromium-driver"
)]
fn page_creates_a_user_on_a_desktop() {
    let system = System::start();
    let status = try_it(&system, "desktop", (1280, 1000));
    assert!(status.starts_with("201"), "{status}");
    assert_eq!(system.rows(), 1);
}

#[test]
#[cfg_attr(
    not(has_chromedriver),
    ignore = "needs chromedriver; on Debian: apt-get install chromium chromium-driver"
)]
fn page_shows_409_for_a_taken_address_on_a_phone() {
    let system = System::start();
    let other = system.http.create("jane@example.com", "Someone else");
    assert_eq!(other.status, 201);
    let status = try_it(&system, "phone", (390, 844));
    assert!(status.starts_with("409"), "{status}");
    assert_eq!(system.rows(), 1);
}

/// Opens the page in a browser of this size, and returns the status that it shows for the example.
fn try_it(system: &System, name: &str, size: (u32, u32)) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let driver = Driver::start();
        let browser = driver.browser(size).await;
        let status = execute_example(&browser, &system.http.base).await;
        let width = excess_width(&browser).await;
        take_picture(&browser, name).await;
        browser.close().await.unwrap();
        assert_eq!(width.unwrap(), 0, "{name} scrolls sideways");
        status.unwrap_or_else(|error| panic!("{name}: {error}"))
    })
}

/// Expands `POST /users`, executes its example, and reads the status.
async fn execute_example(browser: &Client, base: &str) -> Result<String, CmdError> {
    browser.goto(&format!("{base}/docs")).await?;
    let find = async |css: &str| {
        let selector = format!("#operations-users-createUser {css}");
        let wait = browser.wait().at_most(Duration::from_secs(20));
        wait.for_element(Locator::Css(&selector)).await
    };
    find(".opblock-summary-control").await?.click().await?;
    find(".try-out__btn").await?.click().await?;
    find(".execute").await?.click().await?;
    let status = find(".live-responses-table .response .response-col_status").await?;
    status.text().await
}

/// How much wider than the screen the page is.
async fn excess_width(browser: &Client) -> Result<Value, CmdError> {
    let script =
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    browser.execute(script, Vec::new()).await
}

/// Keeps a picture of the page in the folder `SCREENSHOTS`, if there is such a variable.
async fn take_picture(browser: &Client, name: &str) {
    if let Some(folder) = env::var_os("SCREENSHOTS") {
        let to_top = "window.scrollTo(0, 0)";
        browser.execute(to_top, Vec::new()).await.unwrap();
        let picture = browser.screenshot().await.unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }
}

/// ChromeDriver, and with it its browser; both end with it.
struct Driver {
    process: Child,
    port: u16,
    /// Where the browser keeps what it would keep in the home directory.
    home: TempDir,
}

impl Driver {
    fn start() -> Self {
        let (port, home) = (free_port(), tempfile::tempdir().unwrap());
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("no chromedriver; on Debian: apt-get install chromium chromium-driver");
        Self {
            process,
            port,
            home,
        }
    }

    async fn browser(&self, size: (u32, u32)) -> Client {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(self.capabilities(size));
        for _ in 0..200 {
            if let Ok(client) = builder.connect(&url).await {
                return client;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("ChromeDriver gives no browser");
    }

    fn capabilities(&self, (width, height): (u32, u32)) -> serde_json::Map<String, Value> {
        let profile = self.home.path().join("profile");
        let options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                format!("--user-data-dir={}", profile.display()),
                format!("--window-size={width},{height}"),
            ],
            // A window cannot be as narrow as a phone.
            "mobileEmulation": {
                "deviceMetrics": { "width": width, "height": height, "mobile": false },
            },
        });
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("browserName".into(), json!("chrome"));
        capabilities.insert("goog:chromeOptions".into(), options);
        capabilities
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
