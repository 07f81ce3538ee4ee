//! What senders may ask for.

/// Limits of the gateways. What is beyond is refused by name; nothing of that size is allocated first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Bytes of a body after decompression.
    pub body_bytes_max: usize,
    /// Series that this process takes.
    pub series_max: usize,
    /// Labels of a series.
    pub labels_max: usize,
    /// Bytes of the names and values of the labels of a series.
    pub label_bytes_max: usize,
    /// Buckets of a native histogram.
    pub buckets_max: usize,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 128 << 20,
            series_max: 2_000_000,
            labels_max: 256,
            label_bytes_max: 64 << 10,
            buckets_max: 4096,
        }
    }
}
