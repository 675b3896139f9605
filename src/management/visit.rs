//! Doing in a user's name what an AMQP client would do: one visit to the broker for one request.

use std::future::poll_fn;

use super::Management;
use super::call::Call;
use super::reply::Refused;
use crate::auth::Denied;
use crate::broker::{Answer, ChannelKey, Client, Event, Outcome, Refusal, Reply};

/// The one channel that a visit has.
pub(super) const CHANNEL: ChannelKey = ChannelKey { number: 1, epoch: 1 };

/// See the module's documentation. What it holds goes back when it is dropped.
pub(super) struct Visit {
    client: Client,
    tickets: u64,
}

impl Visit {
    /// As the caller, in a vhost that it may use.
    pub(super) fn new(call: &Call, management: &Management, vhost: &str) -> Result<Self, Refused> {
        if management.broker().vhost(vhost).is_some() && !call.sees(management, vhost) {
            return Err(Refused::not_found("Not Found"));
        }
        let admitted = if call.may_use(management, vhost) { Ok(()) } else { Err(Denied::default()) };
        let client = Client::visit(management.broker(), call.user.clone(), vhost, admitted)?;
        Ok(Self { client, tickets: 0 })
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Asks for something and waits until it is done.
    pub(super) async fn ask(
        &mut self,
        request: impl FnMut(&mut Client, Reply) -> Result<Answer, Refusal>,
    ) -> Result<Outcome, Refused> {
        Ok(self.try_ask(request).await?)
    }

    /// As [`Self::ask`], for whoever tells of a refusal in another way.
    pub(super) async fn try_ask(
        &mut self,
        mut request: impl FnMut(&mut Client, Reply) -> Result<Answer, Refusal>,
    ) -> Result<Outcome, Refusal> {
        match self.decide(|client, reply| Ok((request(client, reply)?, reply.ticket))).await? {
            (Answer::Now(outcome), _) => Ok(outcome),
            (Answer::Later, ticket) => self.wait(ticket).await,
        }
    }

    /// Does something as often as the user's backend must be asked for it, and once more.
    pub(super) async fn decide<T>(
        &mut self,
        mut act: impl FnMut(&mut Client, Reply) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        loop {
            self.tickets += 1;
            let reply = Reply { channel: CHANNEL, ticket: self.tickets };
            let decided = act(&mut self.client, reply);
            self.client.flush();
            if !matches!(decided, Err(Refusal::Unanswered)) {
                return decided;
            }
            self.client.await_verdicts(reply);
            self.wait(reply.ticket).await?;
        }
    }

    /// Waits for the confirms of publishes numbered from `first`, each by so many lanes; says which all have accepted.
    pub(super) async fn confirmed(&mut self, first: u64, mut lanes: Vec<u16>) -> Vec<bool> {
        self.client.flush();
        let mut accepted = vec![true; lanes.len()];
        let mut events = Vec::new();
        while lanes.iter().any(|lanes| *lanes > 0) {
            poll_fn(|cx| self.client.poll_events(cx, &mut events)).await;
            for event in events.drain(..) {
                let Event::Confirm { first: from, last, accepted: is_accepted, .. } = event else { continue };
                for sequence in from..=last {
                    // Those before are done with.
                    let Some(place) = sequence.checked_sub(first).and_then(|at| usize::try_from(at).ok()) else {
                        continue;
                    };
                    if let (Some(lanes), Some(accepted)) = (lanes.get_mut(place), accepted.get_mut(place)) {
                        *lanes = lanes.saturating_sub(1);
                        *accepted &= is_accepted;
                    }
                }
            }
        }
        accepted
    }

    async fn wait(&mut self, ticket: u64) -> Result<Outcome, Refusal> {
        let mut events = Vec::new();
        loop {
            poll_fn(|cx| self.client.poll_events(cx, &mut events)).await;
            for event in events.drain(..) {
                match event {
                    Event::Done { ticket: done, result, .. } if done == ticket => {
                        return result.map_err(|refusal| *refusal);
                    }
                    _ => {}
                }
            }
        }
    }
}
