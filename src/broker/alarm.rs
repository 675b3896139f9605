//! Resource alarms: set by whoever watches the resource, read by every publish, told to every connection.

use std::sync::atomic::Ordering;

use super::Broker;
use super::event::{Alarm, Alarms, Event};
use super::events::INTERNAL;

/// A bound on resident memory, or on free disk space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watermark {
    /// Of the machine's memory, or of the control group's limit if that is less.
    Fraction(f64),
    /// In bytes.
    Bytes(u64),
}

impl Broker {
    /// Raises or clears an alarm. Connections that publish are blocked while any is on (FL-1).
    pub fn set_alarm(&self, alarm: Alarm, on: bool) {
        let bit = Alarms::bit(alarm);
        let before = if on {
            self.0.alarms.fetch_or(bit, Ordering::SeqCst)
        } else {
            self.0.alarms.fetch_and(!bit, Ordering::SeqCst)
        };
        if (before & bit != 0) == on {
            return;
        }
        let event = if on { "alarm.set" } else { "alarm.cleared" };
        let resource = match alarm {
            Alarm::Memory => "memory",
            Alarm::Disk => "disk",
        };
        self.events().tell(event, INTERNAL, || [("source", resource.into())]);
        let alarms = self.alarms();
        for connected in &self.0.connections {
            connected.mailbox.put_one(Event::Alarms(alarms));
        }
    }

    /// The alarms that are on.
    pub fn alarms(&self) -> Alarms {
        Alarms::from_bits(self.0.alarms.load(Ordering::Relaxed))
    }
}
