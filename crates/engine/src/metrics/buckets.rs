//! The buckets of histograms.

use prometheus_client::metrics::histogram::Histogram;

/// Seconds: 50 us to about 100 s, doubling.
pub(super) fn seconds() -> Histogram {
    Histogram::new((0..22).map(|i| 50e-6 * f64::from(1_u32 << i)))
}

/// Items: 1 to 4,096, doubling.
pub(super) fn items() -> Histogram {
    Histogram::new((0..13).map(|i| f64::from(1_u32 << i)))
}
