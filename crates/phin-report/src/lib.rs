//! What the simulator and the benchmarks report with: quantiles of samples, and plots. It measures nothing itself.

mod axis;
mod plot;
mod samples;

pub use axis::{Axis, Scale};
pub use plot::{Plot, Series, Style, side_by_side};
pub use samples::Samples;
