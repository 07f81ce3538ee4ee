//! The command against a server on a socket and against a data folder.

use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use bodkin_http::{
    AppState, CompactError, FlushError, Limits, NoCredentials, NoDetection, Node, NotReady, SqlErrorKind, SqlStats,
    router, serve,
};
use bodkin_schema::Epoch;
use clap::Parser;
use futures::stream;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Fake;

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

#[async_trait]
impl SqlEngine for Fake {
    async fn sql(&self, _principal: &Principal, query: &str) -> Result<SqlAnswer, SqlError> {
        let error = |kind| SqlError {
            line: Some(1),
            column: Some(8),
            hint: Some("try less".into()),
            ..SqlError::new(kind, "it failed\u{1b}")
        };
        let batches = match query {
            "SELECT bad" => return Err(error(SqlErrorKind::Plan)),
            "SELECT later" => stream::iter([Ok(batch(0..2)), Err(error(SqlErrorKind::Limit))]).boxed(),
            "SELECT many" => stream::iter((0..50).map(|i| Ok(batch(i * 1000..(i + 1) * 1000)))).boxed(),
            "SELECT none" => stream::empty().boxed(),
            _ => stream::iter([Ok(batch(0..1)), Ok(batch(1..3))]).boxed(),
        };
        let stats = || SqlStats { rows: 0, elapsed_ms: 1.0, bytes_scanned: 5 << 20, files_scanned: 2, files_pruned: 1 };
        Ok(SqlAnswer { schema: batch(0..0).schema(), batches, stats: Box::new(stats) })
    }
}

#[async_trait]
impl Node for Fake {
    fn not_ready(&self) -> Vec<NotReady> {
        Vec::new()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    async fn flush(&self) -> Result<Epoch, FlushError> {
        Ok(Epoch(1))
    }

    async fn compact(&self, _: bool) -> Result<serde_json::Value, CompactError> {
        Ok(serde_json::Value::Null)
    }
}

async fn start() -> String {
    let app = router(AppState {
        sql: Arc::new(Fake),
        node: Arc::new(Fake),
        detection: Arc::new(NoDetection::default()),
        metrics: Vec::new(),
        auth: Arc::new(NoCredentials),
        limits: Limits::default(),
        is_loopback: true,
        counters: Arc::default(),
        prometheus: None,
        alerting: None,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, app, std::future::pending()));
    url
}

/// Answers every request with these bytes, then closes.
async fn start_raw(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: SqlArgs,
}

fn parse(args: &[&str]) -> Result<SqlArgs, clap::Error> {
    Command::try_parse_from([&["sql"], args].concat()).map(|command| command.args)
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

async fn ran_with(args: &[&str], console: Console, open: impl AsyncFnOnce(&Path) -> anyhow::Result<DataDir>) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = execute(&parse(args).unwrap(), open, &console, &mut out, &mut err).await;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code, out: text(out), err: text(err) }
}

async fn ran(args: &[&str]) -> Ran {
    ran_with(args, Console::default(), async |_: &Path| anyhow::bail!("nobody named a folder")).await
}

#[test]
fn arguments_have_their_defaults_and_exclude_each_other() {
    let args = parse(&["SELECT 1"]).unwrap();
    assert_eq!((args.server.as_str(), args.data_dir, args.format), (DEFAULT_SERVER, None, OutputFormat::Table));
    let args = parse(&["--data-dir", "d", "--format", "parquet", "SELECT 1"]).unwrap();
    assert_eq!((args.data_dir, args.format), (Some(PathBuf::from("d")), OutputFormat::Parquet));
    assert_eq!(parse(&["--data-dir", "d", "--server", "http://x", "q"]).unwrap_err().exit_code(), 2);
    assert_eq!(parse(&["--format", "xml", "q"]).unwrap_err().exit_code(), 2);
}

#[tokio::test]
async fn a_server_answers_in_every_format() {
    let server = start().await;
    let table = ran(&["--server", &server, "SELECT"]).await;
    assert_eq!((table.code, table.out.as_str()), (0, "id\n--\n 0\n 1\n 2\n"));
    assert!(table.err.starts_with("(3 rows, ") && table.err.ends_with(")\n"), "{}", table.err);
    let json = ran(&["--server", &server, "--format", "json", "SELECT"]).await;
    assert_eq!(
        (json.code, json.out.as_str(), json.err.as_str()),
        (0, "[\n{\"id\":0},\n{\"id\":1},\n{\"id\":2}\n]\n", "")
    );
    let csv = ran(&["--server", &server, "--format", "csv", "SELECT many"]).await;
    assert_eq!((csv.code, csv.out.lines().count()), (0, 50_001));
    assert_eq!(csv.out.lines().last(), Some("49999"));
    let arrow = ran(&["--server", &server, "--format", "arrow", "SELECT none"]).await;
    assert_eq!((arrow.code, arrow.err.as_str()), (0, ""));
    let parquet = ran(&["--server", &server, "--format", "parquet", "SELECT"]).await;
    assert!(parquet.out.starts_with("PAR1") && parquet.out.ends_with("PAR1"));
}

#[tokio::test]
async fn timing_says_what_the_server_did() {
    let server = start().await;
    let ran = ran(&["--server", &server, "--format", "csv", "--timing", "SELECT"]).await;
    assert!(ran.err.starts_with("timing: total "), "{}", ran.err);
    assert!(ran.err.ends_with("; engine 1 ms; scanned 5.0 MiB in 2 files, 1 pruned\n"), "{}", ran.err);
}

#[tokio::test]
async fn errors_of_the_query_come_with_place_and_hint() {
    let server = start().await;
    let error = "error: it failed\\u{1b}\n  1 | SELECT bad\n    |        ^\n  hint: try less\n";
    let at_once = ran(&["--server", &server, "SELECT bad"]).await;
    assert_eq!((at_once.code, at_once.out.as_str(), at_once.err.as_str()), (1, "", error));
    let later = ran(&["--server", &server, "--format", "csv", "SELECT later"]).await;
    assert_eq!((later.code, later.out.as_str()), (1, "id\n0\n1\n"));
    assert_eq!(later.err, error.replace("bad", "later"));
}

#[tokio::test]
async fn a_server_that_is_none_or_breaks_off_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = ran(&["--server", &closed.to_string(), "q"]).await;
    assert_eq!(gone.code, 1);
    assert!(gone.err.starts_with(&format!("error: no server answers at http://{closed}: ")), "{}", gone.err);
    assert!(gone.err.contains("\n  hint: start a server with bodkin up"), "{}", gone.err);

    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi", "is no Bodkin server"),
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops", "error: server answered 502 Bad Gateway: oops"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.apache.arrow.stream\r\ntransfer-encoding: chunked\r\n\r\n",
            "broke off",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.apache.arrow.stream\r\ncontent-length: 0\r\n\r\n",
            "before its schema",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.apache.arrow.stream\r\ncontent-length: 8\r\n\r\nxxxxxxxx",
            "error: ",
        ),
        ("nonsense\r\n\r\n", "broke off"),
    ];
    for (answer, message) in cases {
        let ran = ran(&["--server", &format!("http://{}", start_raw(answer).await), "q"]).await;
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{answer}");
        assert!(ran.err.contains(message), "{answer}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_bad_server_url_is_a_usage_error() {
    for (server, message) in [("https://h", "only http is spoken"), ("http://", "is no URL"), ("ftp://h", "scheme ftp")]
    {
        let ran = ran(&["--server", server, "q"]).await;
        assert_eq!(ran.code, 2, "{server}");
        assert!(ran.err.contains(message), "{}", ran.err);
    }
}

#[tokio::test]
async fn binary_answers_are_not_for_a_terminal() {
    let console = Console { out_width: Some(80), ..Console::default() };
    for format in ["arrow", "parquet"] {
        let open = async |_: &Path| anyhow::bail!("never opened");
        let ran = ran_with(&["--data-dir", "d", "--format", format, "q"], console, open).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        let expected =
            format!("error: format {format} is not for a terminal\n  hint: write to a file: > answer.{format}\n");
        assert_eq!(ran.err, expected);
    }
}

#[tokio::test]
async fn a_data_folder_is_read_or_its_server_asked() {
    let args = ["--data-dir", "some/folder", "--format", "csv", "SELECT"];
    let stopped = async |folder: &Path| {
        assert_eq!(folder, Path::new("some/folder"));
        Ok(DataDir::Stopped(Arc::new(Fake)))
    };
    let local = ran_with(&args, Console::default(), stopped).await;
    assert_eq!((local.code, local.out.as_str()), (0, "id\n0\n1\n2\n"));

    let server = start().await;
    let live = ran_with(&args, Console::default(), async |_: &Path| Ok(DataDir::Live(server))).await;
    assert_eq!((live.code, live.out), (0, local.out));

    let broken = async |_: &Path| Err(anyhow::anyhow!("newer format").context("cannot open some/folder"));
    let ran = ran_with(&args, Console::default(), broken).await;
    assert_eq!((ran.code, ran.err.as_str()), (1, "error: cannot open some/folder: newer format\n"));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let args = parse(&["--data-dir", "d", "SELECT"]).unwrap();
    let mut err = Vec::new();
    let open = async |_: &Path| Ok(DataDir::Stopped(Arc::new(Fake) as Arc<dyn SqlEngine>));
    assert_eq!(execute(&args, open, &Console::default(), &mut Closed, &mut err).await, 0);
    assert_eq!(err, b"");
}

#[test]
fn sizes_and_times_read_well() {
    assert_eq!(duration_text(Duration::from_micros(900)), "<1 ms");
    assert_eq!(duration_text(Duration::from_millis(999)), "999 ms");
    assert_eq!(duration_text(Duration::from_millis(1234)), "1.23 s");
    assert_eq!(duration_text(Duration::from_secs(125)), "2 min 5 s");
    assert_eq!([0, 1023, 1024, 3 << 29].map(bytes_text), ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]);
    assert_eq!(bytes_text(u64::MAX), "16777216.0 TiB");
}
