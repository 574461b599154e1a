//! `rlhf:plugin/log`: a plugin's messages into the run's log.

use crate::plugin::bindings::v0_1::log;
use crate::plugin::instance::State;
use crate::plugin::limits::LOG_LINE_BYTES_MAX;

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log_lines += 1;
        if self.log_lines > self.log_lines_max {
            if self.log_lines == self.log_lines_max + 1 {
                tracing::warn!(plugin = %self.plugin, "more than {} log lines in one call: the rest is dropped", self.log_lines_max);
            }
            return Ok(());
        }
        let end = message.floor_char_boundary(LOG_LINE_BYTES_MAX);
        // Control characters could rewrite the terminal.
        let line = message[..end].escape_debug();
        match level {
            log::Level::Debug => tracing::debug!(plugin = %self.plugin, "{line}"),
            log::Level::Info => tracing::info!(plugin = %self.plugin, "{line}"),
            log::Level::Warning => tracing::warn!(plugin = %self.plugin, "{line}"),
            log::Level::Error => tracing::error!(plugin = %self.plugin, "{line}"),
        }
        Ok(())
    }
}
