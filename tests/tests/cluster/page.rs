//! The page that a browser gets at the gateway's address, in a real headless Chromium, against the gateway of the installed
//! chart.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    Browser, Gateway, Namespace, Reference, client, reason, references, repository, until, with_browser,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use lexiscale_crds::{ConditionType, InferenceEndpoint};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// In the id it cannot be: only letters, digits and a few signs are allowed there.
const HOSTILE: &str = r#"<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"#;

/// What the page shows of an endpoint, by its id; null while it shows none, as is each part that is hidden. The levels of the line of
/// ready allocations come from left to right, and are heights from above.
const CARD: &str = r##"
    const title = [...document.querySelectorAll("#list h3")].find((title) => title.textContent === arguments[0]);
    if (!title) return null;
    const card = title.closest("article");
    const part = (name) => card.querySelector(`[data-of="${name}"]`);
    const text = (name) => part(name).textContent;
    const seen = (name) => part(name).checkVisibility() ? text(name) : null;
    const bar = card.querySelector("progress");
    const line = card.querySelector("path.ready").getAttribute("d");
    const heights = [...line.matchAll(/[MV](?:\S+ )?([\d.]+)/g)].map(([, height]) => Number(height));
    return { state: text("state"), model: text("model"), allocations: text("allocations"), reason: text("reason"),
        message: text("message"), line, levels: heights.filter((height, index) => height !== heights[index - 1]), said: card.innerText,
        decision: { reason: seen("decision-reason"), message: seen("decision-message") },
        download: { phase: seen("phase"), text: seen("progress-text"), percent: bar.checkVisibility() ? bar.value : null } };"##;

/// Chooses an endpoint, types a text and presses the button.
const TRY: &str = r#"
    document.getElementById("endpoint").value = arguments[0];
    document.getElementById("text").value = arguments[1];
    document.getElementById("embed").click();"#;

/// The tokens in the order shown, the marked words, and the whole painted text; null while there are none.
const RESULT: &str = r##"
    if (document.getElementById("result").hidden) return null;
    const more = document.getElementById("more");
    if (!more.hidden) more.click();
    return {
        tokens: [...document.querySelectorAll("#tokens li")].map((item) =>
            [item.querySelector(".token").textContent, Number(item.querySelector("data").value)]),
        marks: [...document.querySelectorAll("#painted mark")].map((mark) =>
            [mark.textContent, Number(mark.style.getPropertyValue("--share"))]),
        text: document.getElementById("painted").textContent,
    };"##;

/// Waits until a script gives something that satisfies a predicate.
async fn wait(
    browser: &Browser,
    what: &str,
    script: &str,
    arguments: &[&str],
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    until(what, PATIENCE, async || {
        let seen = browser.run(script, arguments).await?;
        Ok(if holds(&seen) { Ok(seen) } else { Err(seen) })
    })
    .await
}

/// Makes an endpoint, runs a test, and takes the endpoint away however the test ended.
async fn with_endpoint(
    id: &str,
    model: &str,
    test: impl AsyncFnOnce(&Gateway, &Namespace) -> Result<()>,
) -> Result<()> {
    let default = Namespace { client: client().await?, name: "default".to_owned() };
    let endpoints: Api<InferenceEndpoint> = default.api();
    let endpoint: InferenceEndpoint = serde_json::from_value(json!({
        "apiVersion": "inference.lexiscale.io/v1alpha1", "kind": "InferenceEndpoint",
        "metadata": { "name": id },
        "spec": { "taskType": "sparse_embedding", "service": "elasticsearch",
                  "serviceSettings": { "modelId": model, "numAllocations": 1, "numThreads": 1 } },
    }))?;
    let gateway = Gateway::open().await?;
    // Of an interrupted run.
    let _ = endpoints.delete(id, &DeleteParams::foreground()).await;
    until("no endpoint of an earlier run", Duration::from_mins(1), async || {
        Ok(if endpoints.get_opt(id).await?.is_none() { Ok(()) } else { Err(id) })
    })
    .await?;
    endpoints.create(&PostParams::default(), &endpoint).await?;
    let result = test(&gateway, &default).await;
    endpoints.delete(id, &DeleteParams::foreground()).await?;
    until("the endpoint is gone", Duration::from_mins(1), async || {
        Ok(if endpoints.get_opt(id).await?.is_none() { Ok(()) } else { Err(id) })
    })
    .await?;
    result
}

/// A reference text of which some words are tokens with a weight.
fn sentence() -> Result<String> {
    let is_plain =
        |text: &str| text.chars().all(|character| character.is_ascii_graphic() || character == ' ');
    let known = |reference: &Reference| {
        let words = reference.text.split(' ').map(str::to_lowercase);
        words.filter(|word| reference.weights.contains_key(word)).count()
    };
    let found =
        references()?.into_iter().find(|reference| is_plain(&reference.text) && known(reference) >= 3);
    Ok(found.context("no reference text has three words with a weight")?.text)
}

/// The weights on the page are those of the API, strongest first, and words of the text are tinted by the weight of their token.
fn ensure_painted(result: &Value, text: &str, embedding: &Value) -> Result<()> {
    let tokens: Vec<(String, f64)> = serde_json::from_value(result["tokens"].clone())?;
    ensure!(tokens.windows(2).all(|pair| pair[0].1 >= pair[1].1), "not strongest first: {tokens:?}");
    let shown: BTreeMap<&str, f64> = tokens.iter().map(|(token, weight)| (token.as_str(), *weight)).collect();
    let expected: BTreeMap<String, f64> = serde_json::from_value(embedding.clone())?;
    for (token, weight) in &expected {
        // ONNX Runtime promises no last digit from one run to the next.
        let told = shown.get(token.as_str()).with_context(|| format!("{token} is not shown"))?;
        ensure!((told - weight).abs() < 1e-4, "{token} is {weight}, the page shows {told}");
    }
    ensure!(shown.len() == expected.len(), "{} tokens shown of {}", shown.len(), expected.len());

    ensure!(result["text"] == text, "the painted text is {}", result["text"]);
    let marks: Vec<(String, f64)> = serde_json::from_value(result["marks"].clone())?;
    ensure!(!marks.is_empty(), "no word of {text:?} is tinted");
    let heaviest = tokens.first().context("no tokens")?.1;
    for (word, share) in &marks {
        if let Some(weight) = shown.get(word.to_lowercase().as_str()) {
            ensure!(
                (share - weight / heaviest).abs() < 1e-6,
                "{word} is tinted {share}, not {weight}/{heaviest}"
            );
        }
    }
    Ok(())
}

/// The words of a vocabulary are found in a text whatever kind of tokeniser writes it.
async fn ensure_every_kind_painted(browser: &Browser) -> Result<()> {
    let kinds = [
        (
            "WordPiece",
            "Café tokenizers, cat.",
            json!({ "cafe": 4.0, "token": 1.0, "##izer": 2.0, "##s": 0.5, "__": 1.0, "##cat": 3.0, "tea": 3.0 }),
            vec![("Café", 1.0), ("tokenizers", 0.5), (".", 0.25)],
        ),
        // The last word is one character, cut within.
        (
            "byte-level BPE",
            "Hello, Café tokenizers\ncat hat \u{6771}",
            json!({ "Hello": 1.0, "ĠCafÃ©": 4.0, "Ġtoken": 1.0, "izers": 2.0, "cat": 3.0, "hat": 3.0, "Ġtea": 3.0, "ĠæĿ": 2.0, "±": 1.0 }),
            vec![("Hello", 0.25), ("Café", 1.0), ("tokenizers", 0.5), ("cat", 0.75), ("\u{6771}", 0.5)],
        ),
        (
            "SentencePiece",
            "Hello Café\ntokenizers. hat",
            json!({ "▁Hello": 1.0, "▁Café": 4.0, "▁token": 1.0, "izers": 2.0, "__": 1.0, "hat": 3.0, "▁tea": 3.0 }),
            vec![("Hello", 0.25), ("Café", 1.0), ("tokenizers", 0.5), (".", 0.25)],
        ),
    ];
    let script = format!("paint(arguments[0], JSON.parse(arguments[1])); {RESULT}");
    for (kind, text, embedding, expected) in kinds {
        let result = browser.run(&script, &[text, &embedding.to_string()]).await?;
        let marks: Vec<(String, f64)> = serde_json::from_value(result["marks"].clone())?;
        let is_expected = marks.iter().map(|(word, share)| (word.as_str(), *share)).eq(expected);
        ensure!(is_expected && result["text"] == text, "{kind}: {result}");
    }
    Ok(())
}

/// An endpoint on its way, as the gateway's own test has it, is drawn whole. A real download is over too soon to be looked at.
async fn ensure_download_drawn(browser: &Browser, shown: &str) -> Result<()> {
    const SNAPSHOT: &str =
        "lexiscale_operator__gateway__page__view__tests__an_endpoint_on_its_way_is_told_whole.snap";
    let path = repository().join("operator/src/gateway/page/snapshots").join(SNAPSHOT);
    let snapshot = fs_err::read_to_string(path)?;
    let (_, view) = snapshot.split_once("\n---\n").context("the snapshot has no head")?;
    // One script, so that the page's own question comes before or after it.
    let card = browser.run(&format!("show(JSON.parse(arguments[1])); {CARD}"), &["articles", view]).await?;
    let text = "43 % · 43 B of 100 B · 5 B/s · 12 s left";
    ensure!(card["download"] == json!({ "phase": "Downloading", "text": text, "percent": 43 }), "{card}");
    let message = "an endpoint starts with its minimum";
    ensure!(card["decision"] == json!({ "reason": "Start", "message": message }), "{card}");
    ensure!(card["model"] == "serving, then coming" && has_step_up(&card), "{card}");
    let hidden = json!({ "phase": null, "text": null, "percent": null });
    wait(browser, "what is real is shown again", CARD, &[shown], |card| card["download"] == hidden)
        .await
        .map(drop)
}

/// Whether the line of ready allocations ends with a step up.
fn has_step_up(card: &Value) -> bool {
    let levels: Vec<f64> = serde_json::from_value(card["levels"].clone()).unwrap_or_default();
    matches!(levels[..], [.., before, last] if last < before)
}

/// A second allocation makes a step in the line, and the page says why there are two.
async fn ensure_scaling_shown(
    browser: &Browser,
    gateway: &Gateway,
    namespace: &Namespace,
    id: &str,
) -> Result<()> {
    let steps = |card: &Value| card["levels"].as_array().map_or(0, Vec::len);
    let before = steps(&browser.run(CARD, &[id]).await?);
    let bounds = json!({ "enabled": true, "min_number_of_allocations": 2, "max_number_of_allocations": 2 });
    let body = json!({ "service_settings": { "adaptive_allocations": bounds } }).to_string();
    gateway.call("PUT", &format!("/_inference/sparse_embedding/{id}/_update"), Some(&body)).await?;
    namespace.ready_endpoint(id).await?;
    wait(browser, "the page shows the second allocation and its step", CARD, &[id], |card| {
        let allocations = card["allocations"].as_str().unwrap_or_default();
        allocations.starts_with("2 of 2 ready, adaptive 2 to 2") && steps(card) > before && has_step_up(card)
    })
    .await?;
    // It may be decided anew at any time; the page follows.
    until("the page shows the last decision", PATIENCE, async || {
        let endpoint: InferenceEndpoint = namespace.api().get(id).await?;
        let decision = endpoint.status.and_then(|status| status.decision).context("no decision")?;
        let card = browser.run(CARD, &[id]).await?;
        let is_told = card["decision"]["message"].as_str().is_some_and(|message| !message.is_empty());
        Ok(if is_told && card["decision"]["reason"] == decision.reason {
            Ok(())
        } else {
            Err((card, decision))
        })
    })
    .await
}

#[tokio::test]
async fn the_page_lists_an_endpoint_and_paints_a_text() -> Result<()> {
    const ID: &str = "page-shown";
    with_endpoint(ID, ".elser_model_2", async |gateway, namespace| {
        with_browser("page-light", &["--window-size=1280,1700"], async |browser| {
            browser.visit(&gateway.url).await?;
            // While it is on its way, too.
            wait(browser, "the page lists the endpoint", CARD, &[ID], |card| !card.is_null()).await?;
            namespace.ready_endpoint(ID).await?;
            let card = wait(browser, "the page shows it ready", CARD, &[ID], |card| card["state"] == "ready")
                .await?;
            ensure!(card["model"] == ".elser_model_2", "{card}");
            let allocations = card["allocations"].as_str().unwrap_or_default();
            ensure!(allocations.starts_with("1 of 1 ready"), "{card}");
            ensure!(
                card["line"].as_str().is_some_and(|line| line.starts_with('M')),
                "no line over time: {card}"
            );
            ensure!(card["reason"] == "Serving", "{card}");

            let text = sentence()?;
            browser.run(TRY, &[ID, &text]).await?;
            let result =
                wait(browser, "the text is painted", RESULT, &[], |result| !result.is_null()).await?;
            let body = json!({ "input": text }).to_string();
            let answer =
                gateway.call("POST", &format!("/_inference/sparse_embedding/{ID}"), Some(&body)).await?;
            ensure_painted(&result, &text, &answer.body["sparse_embedding"][0]["embedding"])?;
            ensure_every_kind_painted(browser).await?;
            ensure_scaling_shown(browser, gateway, namespace, ID).await?;
            ensure_download_drawn(browser, ID).await
        })
        .await?;
        with_browser(
            "page-dark",
            &["--window-size=1280,1700", "--blink-settings=preferredColorScheme=0"],
            async |browser| {
                browser.visit(&gateway.url).await?;
                wait(browser, "the page lists the endpoint", CARD, &[ID], |card| !card.is_null()).await?;
                let ground =
                    browser.run("return getComputedStyle(document.body).backgroundColor", &[]).await?;
                ensure!(ground == "rgb(16, 20, 26)", "the style sheet is not in force: {ground}");
                browser.run(TRY, &[ID, "Where do penguins live?"]).await?;
                wait(browser, "the text is painted", RESULT, &[], |result| !result.is_null()).await.map(drop)
            },
        )
        .await
    })
    .await
}

/// Ids, models and messages come from whoever may make an endpoint, texts from whoever pastes one; neither may act as the reader.
#[tokio::test]
async fn what_looks_like_a_script_is_shown_and_not_run() -> Result<()> {
    const ID: &str = "page-hostile";
    with_endpoint(ID, HOSTILE, async |gateway, namespace| {
        namespace
            .endpoint(ID, "is refused", |endpoint| reason(endpoint, ConditionType::Stalled) == "UnknownModel")
            .await?;
        with_browser("page-hostile", &["--window-size=500,1400"], async |browser| {
            browser.visit(&gateway.url).await?;
            let card =
                wait(browser, "the page shows the failure", CARD, &[ID], |card| card["state"] == "failed")
                    .await?;
            ensure!(card["model"] == HOSTILE, "{card}");
            ensure!(card["said"].as_str().is_some_and(|said| said.contains("<script>")), "{card}");
            browser.run(TRY, &[ID, HOSTILE]).await?;
            let said = wait(
                browser,
                "the page says the API's own words",
                "return document.querySelector('#try-said.bad')?.textContent ?? null",
                &[],
                |said| !said.is_null(),
            )
            .await?;
            ensure!(said.as_str().is_some_and(|said| said.contains("UnknownModel")), "{said}");
            let traces =
                "return [window.hacked ?? null, document.querySelectorAll('main img, main script').length]";
            ensure!(browser.run(traces, &[]).await? == json!([null, 0]), "the text became markup");
            let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
            ensure!(
                browser.run(fits, &[]).await? == true,
                "a long word makes the page wider than the window"
            );
            Ok(())
        })
        .await
    })
    .await
}

/// With a slash at the end and without, as people type it.
#[tokio::test]
async fn the_page_works_under_a_namespace() -> Result<()> {
    let gateway = Gateway::open().await?;
    with_browser("page-namespace", &[], async |browser| {
        for path in ["/namespaces/default/", "/namespaces/default"] {
            browser.visit(&format!("{}{path}", gateway.url)).await?;
            let shown = "return document.getElementById('live').dataset.live";
            wait(browser, &format!("{path} is live"), shown, &[], |live| live == "yes").await?;
            let namespace =
                browser.run("return document.getElementById('namespace').textContent", &[]).await?;
            ensure!(namespace == "· default", "{path}: {namespace}");
        }
        Ok(())
    })
    .await
}
