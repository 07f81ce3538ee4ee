//! Errors of queries as gRPC states.

use bodkin_query::{ErrorKind, QueryError};
use std::fmt::Write;
use tonic::{Code, Status};

/// `error` as a state: message, place and hint in one line.
pub(crate) fn status(error: &QueryError) -> Status {
    let code = match error.kind {
        ErrorKind::Syntax | ErrorKind::Plan | ErrorKind::Execution => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Limit => Code::ResourceExhausted,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    let mut message = error.message.clone();
    if let (Some(line), Some(column)) = (error.line, error.column) {
        let _ = write!(message, " (line {line}, column {column})");
    }
    if let Some(hint) = &error.hint {
        let _ = write!(message, "; hint: {hint}");
    }
    Status::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_and_hint_are_in_the_message() {
        let mut error =
            QueryError::new(ErrorKind::NotFound, "column comn does not exist").with_hint("did you mean `comm`?");
        (error.line, error.column) = (Some(1), Some(8));
        let status = status(&error);
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "column comn does not exist (line 1, column 8); hint: did you mean `comm`?");
    }
}
