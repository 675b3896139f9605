//! What a lane does when its waiting messages take more memory than they may: publishers wait, and what nobody drains goes
//! to disk. [`Shortage`](super::shortage::Shortage) tells when.

use std::sync::Arc;

use super::lane::Lane;
use super::mailbox::Mailbox;
use super::shortage::{Drained, Next, State, WATCHES, WATCHES_OF_FAST};

/// So much of what one lane pages out is paged in one turn.
const PAGED_BYTES_A_TURN: usize = 512 << 10;

/// What stays in memory of a queue that is paged out, at most; of many queues less.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Queues that take less are left alone: it would not be worth a chunk.
const PAGED_BYTES_MIN: usize = 4 << 10;

/// How long consumers are watched before it is said how fast they are.
const WATCH_MS: u64 = 10;

/// How long a lane whose queues can't be paged out goes on as if there were memory; the alarm is for what comes then.
const HOPELESS_MS: u64 = 100;

/// How long to wait for a disk that is behind.
const BEHIND_MS: u64 = 2;

impl Lane {
    /// A connection's operations are worked through: it may send more, now or when there is memory again.
    pub(super) fn worked(&mut self, from: Arc<Mailbox>, bytes: usize) {
        if bytes > 0 && self.is_short() {
            self.shortage.waiting.push((from, bytes));
        } else {
            from.worked(bytes);
        }
    }

    fn is_short(&self) -> bool {
        let Some(segments) = self.replicator.segments() else { return false };
        match self.shortage.state {
            State::None | State::Watching { .. } => self.memory_bytes() > self.memory_max,
            State::Paging(_) => self.memory_bytes() > self.memory_max || segments.is_behind(),
            State::Hopeless { .. } => false,
        }
    }

    /// Does what is to be done about a shortage of memory, if there is one. To be called in every turn.
    pub(super) fn relieve(&mut self, now_ms: u64) -> Next {
        let next = self.work_on_shortage(now_ms);
        if !self.shortage.waiting.is_empty() && !self.is_short() {
            self.shortage.waiting.drain(..).for_each(|(from, bytes)| from.worked(bytes));
        }
        next
    }

    fn work_on_shortage(&mut self, now_ms: u64) -> Next {
        let (taken, mark) = (self.memory_bytes(), self.memory_max);
        match &mut self.shortage.state {
            State::None if taken <= mark || self.replicator.segments().is_none() => Next::Whenever,
            State::None => self.look_for_relief(now_ms),
            State::Watching { .. } if taken <= mark => self.no_shortage(),
            State::Watching { since_ms, .. } if now_ms < *since_ms + WATCH_MS => Next::AtMs(*since_ms + WATCH_MS),
            State::Watching { since_ms, queues } => {
                let (since_ms, queues) = (*since_ms, std::mem::take(queues));
                self.judge(&queues, now_ms - since_ms, now_ms)
            }
            State::Paging(_) if taken <= mark / 2 => self.no_shortage(),
            State::Paging(_) => self.page_out(now_ms),
            State::Hopeless { until_ms } if now_ms < *until_ms => Next::Whenever,
            State::Hopeless { .. } => self.no_shortage(),
        }
    }

    fn no_shortage(&mut self) -> Next {
        self.shortage.state = State::None;
        Next::Whenever
    }

    /// Pages out at once what nobody drains, if that is half of what may be taken; else watches those who drain.
    fn look_for_relief(&mut self, now_ms: u64) -> Next {
        let (drained, idle): (Vec<Drained>, Vec<Drained>) = self.large_queues().into_iter().partition(|queue| {
            let queue = self.queues.get(&queue.id);
            queue.is_some_and(|queue| queue.may_be_drained())
        });
        if drained.is_empty() || self.is_much(&idle) {
            return self.begin_paging(idle, now_ms);
        }
        self.shortage.state = State::Watching { since_ms: now_ms, queues: drained };
        Next::AtMs(now_ms + WATCH_MS)
    }

    /// Some time has gone by: pages out unless what takes the memory is drained fast.
    fn judge(&mut self, watched: &[Drained], watched_ms: u64, now_ms: u64) -> Next {
        let mut large_queues = self.large_queues();
        for large in &mut large_queues {
            let queue = self.queues.get(&large.id).filter(|queue| queue.may_be_drained());
            let before = watched.iter().find(|before| before.id == large.id);
            large.watches = match queue.zip(before) {
                Some((queue, before)) if before.is_fast(queue.delivered_messages(), watched_ms) => WATCHES_OF_FAST,
                Some((_, before)) => before.watches.saturating_sub(1),
                None => 0,
            };
        }
        let (fast, slow): (Vec<Drained>, Vec<Drained>) = large_queues.into_iter().partition(|large| large.watches > 0);
        if fast.is_empty() || self.is_much(&slow) {
            return self.begin_paging(slow, now_ms);
        }
        self.shortage.state = State::Watching { since_ms: now_ms, queues: fast };
        Next::AtMs(now_ms + WATCH_MS)
    }

    /// Paging these would be worth it.
    fn is_much(&self, queues: &[Drained]) -> bool {
        queues.iter().map(|queue| queue.bytes).sum::<usize>() > self.memory_max / 2
    }

    fn begin_paging(&mut self, queues: Vec<Drained>, now_ms: u64) -> Next {
        self.shortage.state = State::Paging(queues.into_iter().map(|queue| queue.id).collect());
        self.page_out(now_ms)
    }

    /// Queues that would be worth a chunk, the largest last.
    fn large_queues(&self) -> Vec<Drained> {
        let kept_bytes = self.kept_bytes();
        let large = self.queues.iter().filter(|(_, queue)| queue.memory_bytes() >= kept_bytes);
        let mut large: Vec<Drained> = large
            .map(|(id, queue)| Drained {
                id: *id,
                bytes: queue.memory_bytes(),
                messages: queue.messages_in_memory(),
                delivered: queue.delivered_messages(),
                watches: WATCHES,
            })
            .collect();
        large.sort_unstable_by_key(|queue| (queue.bytes, queue.id));
        large
    }

    fn kept_bytes(&self) -> usize {
        (self.memory_max / 2 / self.queues.len().max(1)).clamp(PAGED_BYTES_MIN, KEPT_BYTES_MAX)
    }

    /// Pages out a part of the largest queue, or of many small ones.
    fn page_out(&mut self, now_ms: u64) -> Next {
        let kept_bytes = self.kept_bytes();
        let (State::Paging(queues), Some(segments)) = (&mut self.shortage.state, self.replicator.segments()) else {
            return Next::Whenever;
        };
        if segments.is_behind() {
            return Next::AtMs(now_ms + BEHIND_MS);
        }
        if queues.is_empty() {
            self.shortage.state = State::Hopeless { until_ms: now_ms + HOPELESS_MS };
            return Next::Whenever;
        }
        let mut left = PAGED_BYTES_A_TURN;
        while left > 0
            && let Some(id) = queues.last()
        {
            let queue = self.queues.get_mut(id);
            let freed = queue.map_or(0, |queue| queue.page_out(segments, kept_bytes, left, &mut self.fx));
            if freed < left {
                queues.pop();
            }
            // One that gives nothing was looked at.
            left = left.saturating_sub(freed.max(PAGED_BYTES_MIN));
        }
        self.write_changes();
        Next::Now
    }
}
