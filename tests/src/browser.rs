//! A headless Chromium, as a user of the gateway's page has one, driven through `WebDriver`. Of that protocol five requests are
//! enough here; the crates for it bring twenty others along, and a licence of their own.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::repository;

/// For each request to the browser.
const PATIENCE: Duration = Duration::from_mins(1);

/// Nothing that a new installation would do by itself, and nothing that needs a display or a user namespace.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // What the environment names as a proxy does not know this machine's ports.
    "--no-proxy-server",
];

/// A browser with one window.
pub struct Browser {
    agent: ureq::Agent,
    /// Of the session, or of the driver before there is one.
    url: String,
    _driver: Child,
    _profile: TempDir,
}

/// Runs a test in a new browser. Its last picture is kept as `target/screenshots/{name}.png`, of a failure too.
pub async fn with_browser(
    name: &str,
    flags: &[&str],
    test: impl AsyncFnOnce(&Browser) -> Result<()>,
) -> Result<()> {
    let browser = Browser::start(flags).await?;
    let result = test(&browser).await;
    let kept = browser.keep_picture(name).await;
    // Ended by its driver: one that is only dropped would go on running.
    let ended = browser.request("DELETE", "", Value::Null).await;
    result.and(kept).and(ended.map(drop))
}

impl Browser {
    async fn start(flags: &[&str]) -> Result<Self> {
        let (driver, url) = driver().await?;
        let profile = tempfile::tempdir()?;
        let own = format!("--user-data-dir={}", profile.path().display());
        let flags: Vec<&str> = FLAGS.iter().chain(flags).copied().chain([own.as_str()]).collect();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None);
        let mut browser = Self { agent: config.build().into(), url, _driver: driver, _profile: profile };
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": flags } });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let session = browser.request("POST", "/session", wanted).await.context("chromium did not start")?;
        let id = session["sessionId"].as_str().context("the session has no id")?;
        browser.url = format!("{}/session/{id}", browser.url);
        Ok(browser)
    }

    /// Loads an address, and returns once it is loaded.
    pub async fn visit(&self, url: &str) -> Result<()> {
        self.request("POST", "/url", json!({ "url": url })).await.map(drop)
    }

    /// Runs the body of a function in the page, which finds the arguments in `arguments`, and gives what it returns.
    pub async fn run(&self, script: &str, arguments: &[&str]) -> Result<Value> {
        self.request("POST", "/execute/sync", json!({ "script": script, "args": arguments })).await
    }

    async fn keep_picture(&self, name: &str) -> Result<()> {
        // It comes as base64, which is how Kubernetes writes bytes too.
        let ByteString(picture) =
            serde_json::from_value(self.request("GET", "/screenshot", Value::Null).await?)?;
        let folder = repository().join("target/screenshots");
        fs_err::create_dir_all(&folder)?;
        Ok(fs_err::write(folder.join(format!("{name}.png")), picture)?)
    }

    async fn request(&self, method: &str, path: &str, body: Value) -> Result<Value> {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.header("content-type", "application/json").body(body)?;
        let agent = self.agent.clone();
        let (status, mut answer): (u16, Value) = tokio::task::spawn_blocking(move || {
            let mut response = agent.run(request)?;
            anyhow::Ok((response.status().as_u16(), response.body_mut().read_json()?))
        })
        .await??;
        if status == 200 {
            return Ok(answer["value"].take());
        }
        bail!("{method} {path}: {status} {} {}", answer["value"]["error"], answer["value"]["message"])
    }
}

/// The driver, which ends with the value, and its address.
async fn driver() -> Result<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("failed to run chromedriver; `make test-cluster` installs it")?;
    let stdout = driver.stdout.take().context("chromedriver has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let port = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                return Ok(port.trim_end_matches('.').to_owned());
            }
        }
        bail!("chromedriver ended before it named its port")
    };
    let port = timeout(PATIENCE, port).await.context("chromedriver said nothing for a minute")??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((driver, format!("http://127.0.0.1:{port}")))
}
