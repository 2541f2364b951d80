//! Ways in which a hub can let a client down, one request each.

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks after so many bytes of the body.
    CutAfter(u64),
    /// The body stays open and silent after so many bytes.
    StallAfter(u64),
    /// The content is announced under another `ETag`, as if it had been replaced.
    OtherETag,
    /// One byte of the body is wrong.
    FlippedByte,
    /// A login page instead of the content, with status 200.
    Html,
    /// A listing that names the files and says nothing more about them, as some mirrors give.
    BareListing,
    /// The body is announced as compressed, although nobody asked for that.
    Gzip,
    /// So many bytes more are announced and sent than the file has.
    Longer(u64),
    /// So few bytes a second.
    Trickle(u64),
    /// Ranges are ignored: always 200 and the whole content.
    NoRange,
    /// This status and no content.
    Status(u16),
    /// A redirect to this address.
    RedirectTo(String),
}
