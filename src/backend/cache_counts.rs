//! Token counts of services that tell a prompt cache's share apart.

use crate::turn::Usage;

/// Tokens as Anthropic and Bedrock count them: what was read from a cache, or written to it, is
/// not among the input. Services and what stands behind them write the figures, so no sum of
/// them may overflow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CacheCounts {
    /// Read, neither from a cache nor into one.
    pub(super) input: u64,
    /// Read from a cache.
    pub(super) cached: u64,
    /// Read, and written to a cache.
    pub(super) written: u64,
    /// Written as the answer.
    pub(super) output: u64,
}

impl CacheCounts {
    /// As turns count them: all that was read is the input.
    pub(super) fn usage(self) -> Usage {
        let Self { input, cached, written, output } = self;
        Usage {
            input_tokens: input.saturating_add(cached).saturating_add(written),
            output_tokens: output,
            cached_input_tokens: cached,
            cache_written_tokens: written,
            ..Usage::default()
        }
    }
}

/// A count that the SDK has as a signed number; a negative one is none.
pub(super) fn count(tokens: i32) -> u64 {
    u64::try_from(tokens).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_counts_as_input_without_overflow() {
        let counts = CacheCounts { input: 5, cached: 3, written: 2, output: 7 };
        let usage = counts.usage();
        assert_eq!((usage.input_tokens, usage.cached_input_tokens), (10, 3));
        assert_eq!(usage.output_tokens, 7);
        let wrong = CacheCounts { input: u64::MAX, written: u64::MAX, ..counts };
        assert_eq!(wrong.usage().input_tokens, u64::MAX);
        assert_eq!(count(-1), 0);
    }
}
