//! What time does to a queue: messages expire at its head, and what waits for a moment goes on then.

use super::entry::NEVER;
use super::{Death, Effects, Message, Queue};

/// A queue drops so many expired messages at once and has its timer ring again for the rest: a million that one long
/// life kept behind it would stop the lane, and make everything else late.
pub(super) const EXPIRED_AT_ONCE: usize = 1024;

impl Queue {
    /// The message's and the queue's time to live, whichever is shorter (TL-1).
    pub(super) fn expires_at(&self, message: &Message, now_ms: u64) -> u64 {
        let ttl_ms = match (message.facts().expiration_ms, self.settings.message_ttl_ms) {
            (None, None) => return NEVER,
            (Some(ttl), None) | (None, Some(ttl)) => ttl,
            (Some(own), Some(queue)) => own.min(queue),
        };
        // The clock's current millisecond has begun already, so without one more it would be too early.
        if ttl_ms == 0 { now_ms } else { now_ms + ttl_ms + 1 }
    }

    /// A message of TTL 0 may still go to a consumer that is ready right now (TL-1), one whose time ran out before
    /// this moment may not.
    #[inline]
    pub(super) fn drop_expired_behind_delivery(&mut self, now_ms: u64, room: &mut usize, fx: &mut Effects) {
        if let Some(before) = now_ms.checked_sub(1) {
            self.drop_expired(before, room, fx);
        }
    }

    /// Drops what has expired at the head, as long as there is room, which it takes. Where none is left, the head may
    /// be an expired one.
    #[inline]
    pub(super) fn drop_expired(&mut self, now_ms: u64, room: &mut usize, fx: &mut Effects) {
        if self.ready.expiring {
            self.drop_heads_expired(now_ms, room, fx);
        }
    }

    fn drop_heads_expired(&mut self, now_ms: u64, room: &mut usize, fx: &mut Effects) {
        while *room > 0
            && let Some(entry) = self.ready.pop_expired(now_ms)
        {
            *room -= 1;
            self.dead_letter(entry, Death::Expired, fx);
        }
    }

    /// For basic.get, whose answer is what is left.
    pub(super) fn drop_all_expired(&mut self, now_ms: u64, fx: &mut Effects) {
        let mut room = usize::MAX;
        self.drop_expired(now_ms, &mut room, fx);
    }

    /// The time asked for has come. Gives how many messages expired.
    pub(in crate::broker) fn on_timer(&mut self, now_ms: u64, fx: &mut Effects) -> usize {
        self.timer_ms = NEVER;
        if self.expires_at_ms() <= now_ms {
            fx.doom(self.id());
            return 0;
        }
        self.time_out(now_ms, fx);
        self.release_delayed(now_ms);
        self.send_letters_again(now_ms, fx);
        self.dispatch(now_ms, fx)
    }

    /// When x-expires strikes; it runs only while there are no consumers.
    fn expires_at_ms(&self) -> u64 {
        match self.settings.expires_ms {
            Some(expires_ms) if self.consumers.is_empty() => self.used_ms + expires_ms,
            _ => NEVER,
        }
    }

    /// Asks to be woken for the next thing that time brings. Timers are never taken back: one that rings early finds
    /// nothing to do and asks anew, so a queue that is used all the time has one timer, not one for each use.
    pub(in crate::broker) fn set_timer(&mut self, fx: &mut Effects) {
        let next_ms =
            self.ready.next_expiry_ms().min(self.expires_at_ms()).min(self.check_ms).min(self.aside_next_ms());
        self.ask_for(next_ms, fx);
    }

    /// Asks to be woken at this time, if that is not asked for already.
    pub(super) fn ask_for(&mut self, at_ms: u64, fx: &mut Effects) {
        if at_ms < self.timer_ms {
            self.timer_ms = at_ms;
            fx.timers.push((at_ms, self.id()));
        }
    }
}
