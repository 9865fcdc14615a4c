//! Why a line was refused.

/// Why a line was refused: what a producer is told, and what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Closed set of reasons; also the metric's label.
    pub code: RejectionCode,
    /// 1-based byte column within the line.
    pub column: usize,
    /// JSON path of the field, where there is one (`resourceUsage.cpu`).
    pub path: Option<String>,
    /// What is wrong and what would be right, one sentence.
    pub message: String,
    /// What to do, where more than the message is worth saying (TOML to add, `jq -c`).
    pub hint: Option<String>,
}

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectionCode {
    /// Not JSON, or something after the object.
    BadJson,
    /// Not UTF-8.
    BadUtf8,
    /// JSON, but not an object.
    NotAnObject,
    /// Part of an object spread over several lines.
    PrettyPrinted,
    /// Half of a surrogate pair, which is no character.
    BadEscape,
    /// A number beyond what a 64-bit float holds.
    BadNumber,
    /// Nested deeper than 64.
    TooDeep,
    /// Longer than `max_event_size`.
    TooLong,
    /// A field that routes or is checked appears twice.
    DuplicateField,
    /// No type, or not a string.
    BadType,
    /// A field that must be there is not.
    MissingField,
    /// A field is not what its type says.
    BadField,
    /// No room takes it.
    Unrouted,
    /// A `$with` line that is not one.
    BadWith,
    /// It broke off: its body or connection ended within it, or it came too slowly.
    CutOff,
    /// No lines and no HTTP/1.1, but TLS or HTTP/2.
    WrongProtocol,
    /// The backlog is full and the listener sheds.
    BacklogFull,
    /// `limits.rooms` is reached.
    TooManyRooms,
}

impl RejectionCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [RejectionCode; 18] = [
        RejectionCode::BadJson,
        RejectionCode::BadUtf8,
        RejectionCode::NotAnObject,
        RejectionCode::PrettyPrinted,
        RejectionCode::BadEscape,
        RejectionCode::BadNumber,
        RejectionCode::TooDeep,
        RejectionCode::TooLong,
        RejectionCode::DuplicateField,
        RejectionCode::BadType,
        RejectionCode::MissingField,
        RejectionCode::BadField,
        RejectionCode::Unrouted,
        RejectionCode::BadWith,
        RejectionCode::CutOff,
        RejectionCode::WrongProtocol,
        RejectionCode::BacklogFull,
        RejectionCode::TooManyRooms,
    ];

    /// The code as producers and metrics see it.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectionCode::BadJson => "bad_json",
            RejectionCode::BadUtf8 => "bad_utf8",
            RejectionCode::NotAnObject => "not_an_object",
            RejectionCode::PrettyPrinted => "pretty_printed",
            RejectionCode::BadEscape => "bad_escape",
            RejectionCode::BadNumber => "bad_number",
            RejectionCode::TooDeep => "too_deep",
            RejectionCode::TooLong => "too_long",
            RejectionCode::DuplicateField => "duplicate_field",
            RejectionCode::BadType => "bad_type",
            RejectionCode::MissingField => "missing_field",
            RejectionCode::BadField => "bad_field",
            RejectionCode::Unrouted => "unrouted",
            RejectionCode::BadWith => "bad_with",
            RejectionCode::CutOff => "cut_off",
            RejectionCode::WrongProtocol => "wrong_protocol",
            RejectionCode::BacklogFull => "backlog_full",
            RejectionCode::TooManyRooms => "too_many_rooms",
        }
    }
}

impl Rejection {
    /// A rejection without path and hint.
    pub(crate) fn new(code: RejectionCode, column: usize, message: impl Into<String>) -> Rejection {
        Rejection { code, column, path: None, message: message.into(), hint: None }
    }

    /// With the JSON path of the field it is about.
    #[must_use]
    pub(crate) fn path(self, path: impl Into<String>) -> Rejection {
        Rejection { path: Some(path.into()), ..self }
    }

    /// With what to do.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Rejection {
        Rejection { hint: Some(hint.into()), ..self }
    }
}
