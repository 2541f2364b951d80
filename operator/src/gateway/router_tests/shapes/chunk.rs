//! `_chunk`, through the route: the rows are those of the specification's worked cases.

use super::*;

/// The numbers from 0, each followed by a blank.
fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("{number} ")).collect::<Vec<_>>().concat()
}

fn question(number: usize, words: usize, end: &str) -> String {
    let rest: Vec<_> = (2..=words).map(|word| format!(" q{number}w{word}")).collect();
    format!("Q{number}w1{}{end}", rest.concat())
}

fn four() -> String {
    question(1, 16, ".\n") + &question(2, 42, ". ") + &question(3, 60, ". ") + &question(4, 15, ".")
}

const LINE: &str = "Ten short words make up this plain little test line. ";

/// The places of the chunks of one text.
fn places(of_text: &Value) -> Vec<(u64, u64)> {
    let place = |chunk: &Value| (chunk["start"].as_u64().unwrap(), chunk["end"].as_u64().unwrap());
    of_text["chunks"].as_array().unwrap().iter().map(place).collect()
}

/// Needs no worker: there is none.
#[tokio::test]
async fn every_strategy_cuts_where_elasticsearch_does() {
    let harness = with_pods(&[], &[]);
    let table = [
        (" ".to_owned(), json!({"strategy": "word", "max_chunk_size": 10, "overlap": 5}), vec![(0, 1)]),
        (
            numbers(11),
            json!({"strategy": "word", "max_chunk_size": 10, "overlap": 3}),
            vec![(0, 19), (13, 23)],
        ),
        (
            numbers(22),
            json!({"strategy": "word", "max_chunk_size": 10, "overlap": 4}),
            vec![(0, 19), (11, 37), (25, 55)],
        ),
        (four(), json!({"max_chunk_size": 100, "sentence_overlap": 0}), vec![(0, 332), (332, 765)]),
        (
            four(),
            json!({"strategy": "sentence", "max_chunk_size": 70}),
            vec![(0, 332), (211, 622), (502, 765)],
        ),
        (
            [LINE, "\n\n", LINE, "\n", LINE, "\n\n", LINE].concat(),
            json!({"strategy": "recursive", "max_chunk_size": 20, "separator_group": "plaintext"}),
            vec![(0, 53), (53, 162), (162, 217)],
        ),
        (
            [LINE, "\t", LINE, "\t", LINE].concat(),
            json!({"strategy": "recursive", "max_chunk_size": 20, "separators": ["\t", "#"]}),
            vec![(0, 107), (107, 161)],
        ),
        (String::new(), json!({"strategy": "none"}), vec![(0, 0)]),
        (four(), json!({"strategy": "none"}), vec![(0, 765)]),
        (four(), json!({}), vec![(0, 765)]),
    ];
    for (text, settings, expected) in table {
        let body = json!({"input": text, "chunking_settings": settings});
        let (status, answer) = post(&harness, "/_inference/articles/_chunk?embeddings=false", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let texts = answer["sparse_embedding_chunks"].as_array().unwrap();
        assert_eq!(texts.iter().map(places).collect::<Vec<_>>(), [expected], "{settings}");
    }
}

#[tokio::test]
async fn the_settings_of_the_endpoint_hold_where_the_request_has_none() {
    let harness = with_pods(&[], &[]);
    let body = json!({"input": [numbers(11), "a😀b"]});
    let (_, answer) =
        post(&harness, "/_inference/sparse_embedding/words/_chunk?embeddings=false&text", body).await;
    assert_eq!(
        answer,
        json!({"sparse_embedding_chunks": [
            {"chunks": [
                {"start": 0, "end": 19, "text": "0 1 2 3 4 5 6 7 8 9"},
                {"start": 13, "end": 23, "text": " 7 8 9 10 "},
            ]},
            {"chunks": [{"start": 0, "end": 4, "text": "a😀b"}]},
        ]})
    );
    let (_, answer) =
        post(&harness, "/_inference/articles/_chunk?embeddings=false", json!({"input": numbers(11)})).await;
    assert_eq!(places(&answer["sparse_embedding_chunks"][0]), [(0, 23)], "the default is by sentences");
}

#[tokio::test]
async fn every_chunk_has_the_vector_of_its_own_text() {
    let worker = Worker::start(Behaviour::Echoes).await;
    let harness = with_pods(&[worker.address], &[]);
    let settings = json!({"strategy": "word", "max_chunk_size": 10, "overlap": 1});
    let body = json!({"input": [numbers(200), "", numbers(12)], "chunking_settings": settings});
    let (status, answer) =
        post(&harness, "/_inference/articles/_chunk?text=true&embeddings=true", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let texts = answer["sparse_embedding_chunks"].as_array().unwrap();
    assert_eq!(texts.iter().map(|text| places(text).len()).collect::<Vec<_>>(), [23, 1, 2]);
    for chunk in texts.iter().flat_map(|text| text["chunks"].as_array().unwrap()) {
        let text = chunk["text"].as_str().unwrap();
        assert_eq!(chunk["embedding"], json!({text: 1.0}));
        assert_eq!(chunk["is_truncated"], json!(false));
    }
    let asked: Vec<Value> = worker.asked().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert!(
        asked
            .iter()
            .all(|body| body["input_type"] == "ingest" && body["input"].as_array().unwrap().len() <= 10)
    );
}

#[tokio::test]
async fn more_chunks_than_may_be_are_refused_before_a_worker_is_asked() {
    let worker = Worker::start(Behaviour::Echoes).await;
    let harness = with_pods(&[worker.address], &[]);
    let settings = json!({"strategy": "word", "max_chunk_size": 10, "overlap": 1});
    let body = json!({"input": numbers(20_000), "chunking_settings": settings});
    let (status, answer) = post(&harness, "/_inference/articles/_chunk", &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let reason = answer["error"]["reason"].as_str().unwrap();
    assert!(reason.contains("[2048] chunks") && reason.contains("[max_chunk_size]"), "{reason}");
    assert!(worker.asked().is_empty());
    let (status, _) = post(&harness, "/_inference/articles/_chunk?embeddings=false", body).await;
    assert_eq!(status, StatusCode::OK, "cutting alone may make more");
}

#[tokio::test]
async fn settings_that_are_refused_are_named_whether_or_not_the_endpoint_is_there() {
    let harness = with_pods(&[], &[]);
    let table = [
        (json!({"strategy": "recursive", "separators": ["a", "(b"]}), "validation_exception", "[(b]"),
        (json!({"max_chunk_size": 19}), "validation_exception", "[20]"),
        (json!({"strategy": "page"}), "illegal_argument_exception", "[page]"),
    ];
    for (settings, kind, part) in table {
        for id in ["articles", "nobody"] {
            let body = json!({"input": "a", "chunking_settings": settings});
            let path = format!("/_inference/{id}/_chunk?embeddings=false");
            let (status, answer) = post(&harness, &path, body).await;
            assert_eq!((status.as_u16(), &answer["error"]["type"]), (400, &json!(kind)), "{answer}");
            assert!(answer["error"]["reason"].as_str().unwrap().contains(part), "{answer}");
        }
    }
}
