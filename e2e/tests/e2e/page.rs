//! The page at /docs in a real browser: Chromium, driven through ChromeDriver (W3C WebDriver).

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;

use e2e::{System, free_port, skipped};

/// ChromeDriver, and with it its browser; both end with it.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// `None`: this machine has no Chromium.
    fn start() -> Option<Self> {
        let port = free_port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { process, port })
    }

    async fn browser(&self, profile: &Path, (width, height): (u32, u32)) -> Client {
        let options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                format!("--user-data-dir={}", profile.display()),
                format!("--window-size={width},{height}"),
            ],
            // A window cannot be as narrow as a phone.
            "mobileEmulation": { "deviceMetrics": { "width": width, "height": height, "mobile": false } },
        });
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("browserName".into(), json!("chrome"));
        capabilities.insert("goog:chromeOptions".into(), options);
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut builder =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities);
        for _ in 0..200 {
            if let Ok(client) = builder.connect(&url).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("ChromeDriver gives no browser");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_page_creates_a_user_in_a_real_browser() {
    let Some(driver) = Driver::start() else {
        skipped("no chromedriver on the PATH; on Debian: apt-get install chromium chromium-driver");
        return;
    };
    let system = System::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for (name, size) in [("desk", (1280, 1000)), ("phone", (390, 844))] {
            let profile = tempfile::tempdir().unwrap();
            let browser = driver.browser(profile.path(), size).await;
            let found = try_it(&browser, &system.http.base, name).await;
            browser.close().await.unwrap();
            found.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
    // Jane, by whichever came first; the other one got 409.
    assert_eq!(system.rows(), 1);
}

/// Opens the page, expands `POST /users`, executes the example, and reads the status.
async fn try_it(
    browser: &Client,
    base: &str,
    name: &str,
) -> Result<(), fantoccini::error::CmdError> {
    browser.goto(&format!("{base}/docs")).await?;
    let operation = "#operations-users-createUser";
    let click = async |css: &str| {
        let selector = format!("{operation} {css}");
        let element = browser.wait().at_most(Duration::from_secs(20));
        element
            .for_element(Locator::Css(&selector))
            .await?
            .click()
            .await
    };
    click(".opblock-summary-control").await?;
    click(".try-out__btn").await?;
    click(".execute").await?;
    let status = format!("{operation} .live-responses-table .response .response-col_status");
    let wait = browser.wait().at_most(Duration::from_secs(20));
    let status = wait
        .for_element(Locator::Css(&status))
        .await?
        .text()
        .await?;
    let expected = if name == "desk" { "201" } else { "409" };
    assert!(status.starts_with(expected), "{name}: {status}");
    // Nothing may be wider than the screen.
    let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(
        browser.execute(wide, Vec::new()).await?,
        0,
        "{name} scrolls sideways"
    );
    if let Some(folder) = env::var_os("SCREENSHOTS") {
        browser.execute("window.scrollTo(0, 0)", Vec::new()).await?;
        let picture = browser.screenshot().await?;
        fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }
    Ok(())
}
