//! Each reader of what clients send, given ever new inputs (see the crate `lexiscale-fuzz`).

use http::{Request, Uri};
use lexiscale_fuzz::{Inputs, fuzz};

use super::elastic::{chunk, create, filter_path::FilterPath, id::NewId, infer, json::Json, query, update};
use super::elastic::{media_type::MediaType, task_type::TaskTypeName, time_value};
use super::gzip::Gunzip;
use super::request::pairs;
use super::tenancy::routable;

const CREATE: &str = r#"{"service":"elasticsearch","service_settings":{"num_threads":1,"model_id":".elser_model_2",
    "adaptive_allocations":{"enabled":true,"min_number_of_allocations":0,"max_number_of_allocations":8}},
    "chunking_settings":{"strategy":"recursive","max_chunk_size":200,"separators":["\n\n","(?<!\n)x"]},"task_settings":{}}"#;
const UPDATE: &str = r#"{"service_settings":{"num_allocations":4},"chunking_settings":{"strategy":"sentence","sentence_overlap":1}}"#;
const INFER: &str = r#"{"input":["one","zw\u00f6lf \ud83d\ude00"],"input_type":"ingest","task_settings":{},"top_k":8,"max_ratio":0.4,"truncate":true}"#;
const CHUNK: &str =
    r#"{"input":"one. two. three.","chunking_settings":{"strategy":"word","max_chunk_size":10,"overlap":1}}"#;
const WORDS: [&str; 20] = [
    "\"input\":",
    "\"service\":",
    "\"service_settings\":{",
    "\"num_allocations\":",
    "\"deployment_id\":\"x\"",
    "null",
    "true",
    "[",
    "{}",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"\\ud800\"",
    "\\u0000",
    "\"strategy\":\"none\"",
    "\"separators\":[\"",
    "(a+)+$",
    "//",
    "/*",
    "\u{feff}",
];

#[test]
fn any_body_gets_a_verdict() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    fuzz(&Inputs::of_texts("body", &[CREATE, UPDATE, INFER, CHUNK, &deep], &WORDS), |body| {
        if let Ok(json) = Json::parse(body) {
            let again = serde_json::to_vec(&json).unwrap();
            assert_eq!(Json::parse(&again).ok(), Some(json), "what is read is written and read again");
        }
        let task = Some(TaskTypeName::parse("sparse_embedding").unwrap());
        let _ = create::parse(task, body);
        let _ = update::parse(None, body);
        if let Ok(request) = infer::parse(task, body) {
            assert!(!request.texts().is_empty(), "{request:?}");
        }
        let _ = chunk::parse(body);
    });
}

#[test]
fn any_path_gets_a_verdict() {
    let seeds = [
        "/_inference/sparse_embedding/my-elser?timeout=30s&pretty&filter_path=a.**,-b.*",
        "/namespaces/team-a/_inference/_all?human=false&error_trace",
        "/namespaces/a?dry_run=true&force",
    ];
    let words = [
        "/namespaces/",
        "//",
        "%2f",
        "%00",
        "%e4",
        "..",
        "?",
        "&",
        "=",
        "timeout=",
        "filter_path=",
        "**",
        "-",
        ",",
        "d",
    ];
    fuzz(&Inputs::of_texts("path", &seeds, &words), |input| {
        let text = String::from_utf8_lossy(input);
        let _ = NewId::parse(&text);
        let _ = time_value::parse("timeout", &text);
        let _ = MediaType::of_body(Some(&text));
        let _ = MediaType::of_answer(Some(&text));
        if let Ok(Some(filter)) = FilterPath::parse(&text) {
            let _ = filter.apply(Json::parse(INFER.as_bytes()).unwrap());
        }
        let Ok(uri) = text.parse::<Uri>() else { return };
        let pairs = pairs(&uri);
        let _ = query::Query::parse(uri.path(), &pairs, &[query::Own::Force]);
        let _ = query::Presentation::parse(&pairs);
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        let routed = routable(request);
        let path = routed.uri().path().to_owned();
        assert!(path == "/" || !path.ends_with('/'), "{text:?} is routed to {path:?}");
    });
}

#[test]
fn any_gzip_gets_a_verdict() {
    const LIMIT: usize = 16 * 1024;
    let packed = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, bytes).unwrap();
        gzip.finish().unwrap()
    };
    let seeds = vec![packed(INFER.as_bytes()), packed(&[0; 1 << 20])];
    fuzz(&Inputs { name: "gzip", seeds, words: &["\u{1f}"] }, |input| {
        let mut gunzip = Gunzip::new(LIMIT);
        let written = input.chunks(100).try_for_each(|piece| gunzip.write(piece));
        assert!(gunzip.len() <= LIMIT);
        if written.is_ok()
            && let Ok(bytes) = gunzip.finish()
        {
            assert!(bytes.len() <= LIMIT);
        }
    });
}
