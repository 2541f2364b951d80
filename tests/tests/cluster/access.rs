//! The chart with `auth.mode=kubernetes`, its default: a second release, in a namespace of its own and under a name of its own, beside
//! the shared one, which asks nobody. Tokens of service accounts, an API key, the page's sign-in in a real browser, and workers that
//! answer nobody but the gateway, by mutual TLS.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    Browser, Gateway, Namespace, eventually, kubectl, until, with_browser, with_namespace, with_release,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);
const RELEASE: &str = "access";
const WORKERS: &str = "lexiscale-worker-tls";
const GATEWAYS: &str = "lexiscale-gateway-tls";
const MODEL: &str = "demo-splade-tiny";
const BODY: &str = r#"{"input":"Kubernetes"}"#;

/// What the page shows of who is there, and the ids of the endpoints that it shows.
const SEEN: &str = r##"
    const hidden = (id) => document.getElementById(id).hidden;
    return { asks: !hidden("sign-in"), offers: !hidden("sign-out"), reason: document.getElementById("sign-in-reason").textContent,
        endpoints: hidden("endpoints") ? [] : [...document.querySelectorAll("#list h3")].map((title) => title.textContent) };"##;

const SIGN_IN: &str = r#"
    document.getElementById("credential").value = arguments[0];
    document.getElementById("sign-in-form").requestSubmit();"#;

const SIGN_OUT: &str = r#"document.getElementById("sign-out").click();"#;

/// The Secrets of workers and of the gateway, which trust one authority.
async fn certificates(namespace: &Namespace) -> Result<()> {
    let (authority, folder) = (lexiscale_pki::Authority::new()?, tempfile::tempdir()?);
    for (secret, name) in [(WORKERS, "lexiscale-worker"), (GATEWAYS, "lexiscale-gateway")] {
        let files = folder.path().join(secret);
        authority.issue(name, &files)?;
        let from = format!("--from-file={}", files.display());
        let r#type = "--type=kubernetes.io/tls";
        kubectl(&["--namespace", &namespace.name, "create", "secret", "generic", secret, r#type, &from])
            .await?;
    }
    Ok(())
}

fn values(namespace: &Namespace) -> Value {
    json!({
        "gateway": {
            "namespace": namespace.name,
            "allNamespaces": false,
            "auth": { "mode": "kubernetes", "apiKeysSecret": "lexiscale-api-keys", "audiences": ["lexiscale"] },
        },
        "worker": { "tls": { "secretName": WORKERS, "gatewaySecretName": GATEWAYS } },
    })
}

/// A service account with a Role, and a token for the gateway.
async fn account(namespace: &Namespace, name: &str, verbs: &str) -> Result<String> {
    let own = ["--namespace", namespace.name.as_str()];
    let subject = format!("--serviceaccount={}:{name}", namespace.name);
    let (role, verbs) = (format!("--role={name}"), format!("--verb={verbs}"));
    kubectl(&[&own[..], &["create", "serviceaccount", name]].concat()).await?;
    let resource = "--resource=inferenceendpoints.inference.lexiscale.io";
    kubectl(&[&own[..], &["create", "role", name, &verbs, resource]].concat()).await?;
    kubectl(&[&own[..], &["create", "rolebinding", name, &role, &subject]].concat()).await?;
    let token = kubectl(&[&own[..], &["create", "token", name, "--audience=lexiscale"]].concat()).await?;
    Ok(format!("Bearer {}", token.trim()))
}

/// As docs/reference/access.md says: in the gateway's own container, whose output is the Secret, and whose last word on standard error the key.
async fn api_key(namespace: &Namespace) -> Result<String> {
    let own = ["--namespace", namespace.name.as_str()];
    let make = [
        "exec",
        "deployment/access-lexiscale-gateway",
        "--",
        "/usr/bin/lexiscale-operator",
        "api-key",
        "--id",
        "app",
        "--namespace",
        &namespace.name,
        "--verb",
        "infer",
        "--verb",
        "get",
        "--endpoint",
        "articles",
    ];
    let said = kubectl(&[&own[..], &make].concat()).await?;
    let is_manifest = |line: &&str| {
        ["apiVersion:", "kind:", "metadata:", "stringData:", "type:", " "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let manifest = said.lines().filter(is_manifest).collect::<Vec<_>>().join("\n");
    let file = tempfile::NamedTempFile::new()?;
    fs_err::write(file.path(), manifest)?;
    let path = file.path().to_str().context("a path that is no text")?;
    kubectl(&[&own[..], &["apply", "--filename", path]].concat()).await?;
    let key = said.split_whitespace().rfind(|word| word.len() > 40 && !word.contains(['{', '"', ':']));
    Ok(format!("ApiKey {}", key.context("no key was printed")?))
}

async fn status(
    gateway: &Gateway,
    method: &str,
    path: &str,
    body: Option<&str>,
    credentials: &str,
) -> Result<u16> {
    Ok(gateway.send_as(credentials, method, path, body).await?.status)
}

async fn seen(browser: &Browser, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, Duration::from_secs(30), async || {
        let seen = browser.run(SEEN, &[]).await?;
        Ok(if holds(&seen) { Ok(seen) } else { Err(seen) })
    })
    .await
}

#[tokio::test]
async fn the_installed_gateway_asks_who_is_there() -> Result<()> {
    with_namespace("access", async |namespace| {
        certificates(&namespace).await?;
        with_release(&namespace, RELEASE, &values(&namespace), async || {
            let maker = account(&namespace, "maker", "get,list,create,delete").await?;
            let searcher = account(&namespace, "searcher", "infer").await?;
            let nobody = account(&namespace, "nobody", "watch").await?;
            let gateway = Gateway::of(&namespace.name, "access-lexiscale-gateway").await?;

            let path = "/_inference/sparse_embedding/articles";
            let wanted = format!(
                r#"{{"service":"elasticsearch","service_settings":{{"model_id":"{MODEL}","num_allocations":1,"num_threads":1}}}}"#
            );
            for credentials in [&searcher, &nobody] {
                ensure!(status(&gateway, "PUT", path, Some(&wanted), credentials).await? == 403, "one without the right makes");
            }
            ensure!(status(&gateway, "PUT", path, Some(&wanted), "").await? == 401, "a stranger makes");
            let made = gateway.send_as(&maker, "PUT", &format!("{path}?timeout=2m"), Some(&wanted)).await?;
            ensure!(made.status == 200, "{} {}", made.status, made.text);

            let infer = async |credentials: &str| status(&gateway, "POST", path, Some(BODY), credentials).await;
            ensure!(infer(&searcher).await? == 200, "who may infer does not");
            let serving = namespace.ready_endpoint("articles").await?;
            let url = serving.status.and_then(|status| status.url).context("no address of the workers")?;
            ensure!(url.starts_with("https://") && url.ends_with(":8443"), "workers answer at {url}");
            for credentials in [&maker, &nobody] {
                ensure!(infer(credentials).await? == 403, "one without the right infers");
            }
            for credentials in ["", "Bearer made-up", "ApiKey YTpi"] {
                ensure!(infer(credentials).await? == 401, "{credentials} infers");
            }
            let key = api_key(&namespace).await?;
            // The kubelet brings it, in a minute or two.
            eventually("the key is known", PATIENCE, async || Ok(infer(&key).await? == 200)).await?;
            ensure!(status(&gateway, "GET", "/_inference/articles", None, &key).await? == 200, "the key's other verb");
            ensure!(status(&gateway, "DELETE", "/_inference/articles", None, &key).await? == 403, "a verb that it lacks");

            with_browser("page-sign-in", &[], async |browser| sign_in(browser, &gateway, &maker, &searcher).await).await?;

            ensure!(status(&gateway, "DELETE", "/_inference/articles", None, &maker).await? == 200, "who may delete does not");
            Ok(())
        })
        .await
    })
    .await
}

/// Nothing is shown before, the reason is told, and nothing is left behind.
async fn sign_in(browser: &Browser, gateway: &Gateway, maker: &str, searcher: &str) -> Result<()> {
    browser.visit(&gateway.url).await?;
    let before = seen(browser, "the page asks who is there", |seen| seen["asks"] == true).await?;
    ensure!(before["endpoints"] == json!([]), "{before} before anybody signed in");
    browser.run(SIGN_IN, &["made-up"]).await?;
    seen(browser, "the page says that the token is not valid", |seen| {
        seen["asks"] == true && seen["reason"].as_str().is_some_and(|reason| reason.contains("not valid"))
    })
    .await?;
    // May infer, and may not see what there is.
    browser.run(SIGN_IN, &[searcher]).await?;
    seen(browser, "the page says what right is missing", |seen| {
        seen["asks"] == true && seen["reason"].as_str().is_some_and(|reason| reason.contains("[list]"))
    })
    .await?;
    browser.run(SIGN_IN, &[maker]).await?;
    seen(browser, "the endpoints are shown", |seen| {
        seen["asks"] == false && seen["offers"] == true && seen["endpoints"] == json!(["articles"])
    })
    .await?;
    browser.run(SIGN_OUT, &[]).await?;
    let after = seen(browser, "the page asks again", |seen| seen["asks"] == true).await?;
    ensure!(after["endpoints"] == json!([]), "{after} after signing out");
    let kept = browser
        .run("return sessionStorage.length + localStorage.length + document.cookie.length", &[])
        .await?;
    ensure!(kept == 0, "the browser keeps {kept}");
    Ok(())
}
