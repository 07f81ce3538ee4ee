//! `bodkin promql`: asks a server PromQL; a table for one moment, a chart for a range.

mod answer;
mod chart;
pub(crate) mod time;

use crate::output::{Console, OutputFormat};
use crate::sql::{DEFAULT_SERVER, Remote};
use answer::Answer;
use bodkin_schema::{Clock, SystemClock};
use bytes::Bytes;
use hyper::StatusCode;
use std::io::{self, Write};
use std::process::ExitCode;
use url::form_urlencoded::Serializer;

/// Points of a range without `--step`: about two per column of a wide terminal.
const POINTS_DEFAULT: i64 = 240;

/// Arguments of `bodkin promql`.
#[derive(Debug, clap::Args)]
pub(crate) struct PromqlArgs {
    /// Server to ask
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER)]
    server: String,
    /// Time of the answer: RFC 3339, seconds since 1970, or back from now (10m)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// Start of a range, as --time
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// End of the range; now where it is missing
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// Distance of the range's points (15s, 1m)
    #[arg(long, value_name = "DURATION", requires = "start")]
    step: Option<String>,
    /// How to write the answer; a range as a table is a chart
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    format: OutputFormat,
    /// Expression
    #[arg(value_name = "EXPR")]
    query: String,
}

/// Runs the command on the standard streams; errors are told there.
pub(crate) async fn run(args: PromqlArgs) -> ExitCode {
    let console = Console::of_process();
    let mut out = Vec::new();
    let code = match execute(&args, &console, &mut out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    };
    match io::stdout().lock().write_all(&out) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: the answer cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

async fn execute(args: &PromqlArgs, console: &Console, out: &mut Vec<u8>) -> Result<(), String> {
    if args.format.is_binary() && console.out_width.is_some() {
        return Err(format!("format {0} is not for a terminal; write to a file: > answer.{0}", args.format.name()));
    }
    if args.format == OutputFormat::Parquet {
        return Err("answers of PromQL are written as table, json, csv or arrow".to_owned());
    }
    let remote = Remote::parse(&args.server)?;
    let (path, is_range) = path(args, SystemClock::default().now().micros().div_euclid(1000))?;
    if args.format == OutputFormat::Arrow {
        let (status, body) = get(&remote, &path, "application/vnd.apache.arrow.stream").await?;
        if status != StatusCode::OK {
            return Err(answer::error_of(status, &body));
        }
        out.extend_from_slice(&body);
        return Ok(());
    }
    let (status, body) = get(&remote, &path, "application/json").await?;
    let answer = Answer::read(status, &body)?;
    for said in answer.warnings.iter().chain(&answer.infos) {
        eprintln!("{said}");
    }
    match args.format {
        OutputFormat::Json => {
            out.extend_from_slice(answer.data.get().as_bytes());
            out.push(b'\n');
            Ok(())
        }
        OutputFormat::Table if is_range => {
            chart::draw(&answer.series, console, out);
            Ok(())
        }
        format => answer.write(format, console, out),
    }
}

/// The request's path with its parameters, and whether it is a range.
fn path(args: &PromqlArgs, now_ms: i64) -> Result<(String, bool), String> {
    let mut params = Serializer::new(String::new());
    params.append_pair("query", &args.query);
    let moment = |flag: &str, text: &Option<String>| match text {
        Some(text) => time::parse(text, now_ms).map_err(|why| format!("{flag} {text:?}: {why}")),
        None => Ok(now_ms),
    };
    let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
    let Some(_) = &args.start else {
        params.append_pair("time", &seconds(moment("--time", &args.time)?));
        return Ok((format!("/prometheus/api/v1/query?{}", params.finish()), false));
    };
    let (start_ms, end_ms) = (moment("--start", &args.start)?, moment("--end", &args.end)?);
    let step = match &args.step {
        Some(step) => step.clone(),
        None => format!("{}", ((end_ms - start_ms) / POINTS_DEFAULT / 1000).max(1)),
    };
    params.append_pair("start", &seconds(start_ms)).append_pair("end", &seconds(end_ms)).append_pair("step", &step);
    Ok((format!("/prometheus/api/v1/query_range?{}", params.finish()), true))
}

async fn get(remote: &Remote, path: &str, accept: &str) -> Result<(StatusCode, Bytes), String> {
    remote.get(path, accept).await.map_err(|error| match error.hint {
        Some(hint) => format!("{}\n  hint: {hint}", error.message),
        None => error.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> PromqlArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: PromqlArgs,
        }
        let line = ["promql"].into_iter().chain(line.iter().copied());
        <Line as clap::Parser>::try_parse_from(line).unwrap().args
    }

    #[test]
    fn requests() {
        let of = |line: &[&str]| path(&args(line), 10_000_500).unwrap();
        assert_eq!(of(&["up"]), ("/prometheus/api/v1/query?query=up&time=10000.500".to_owned(), false));
        assert_eq!(
            of(&["--start", "1h", "a+b"]),
            ("/prometheus/api/v1/query_range?query=a%2Bb&start=6400.500&end=10000.500&step=15".to_owned(), true)
        );
        assert_eq!(
            of(&["--start", "0", "--end", "60", "--step", "1m", "up"]).0,
            "/prometheus/api/v1/query_range?query=up&start=0.000&end=60.000&step=1m"
        );
        assert!(path(&args(&["--time", "soon", "up"]), 0).unwrap_err().starts_with("--time \"soon\""));
    }
}
