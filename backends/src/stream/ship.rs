//! All of one stream, where both sides are on this host.

use crate::action::{Stop, perform_all};
use crate::cmd::System;
use crate::stream::pipe::{self, Flow};
use crate::stream::{Landing, Shipment, Stream};
use crate::{Label, Result, SnapName};

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// The bytes that flowed.
    pub bytes: u64,
}

/// Sends `shipment` from one side to the other, after abandoning what is named. When this returns it has landed, whole and
/// durably. What was cut on the way, by a fault or by giving up, is abandoned again; with one that can be gone on with it is
/// left. The caller has seen that there are no obstacles.
pub fn ship(
    sys: &dyn System,
    from: &dyn Stream,
    to: &dyn Landing,
    shipment: &Shipment,
    abandon: &[SnapName],
    label: &Label,
    flow: &Flow<'_>,
) -> Result<Shipped> {
    // What clears up is not given up.
    let never: Stop<'_> = &|| false;
    for name in abandon {
        perform_all(&to.abandon(name), sys, never)?;
    }
    let sent = perform_all(&to.prepare(shipment, label), sys, flow.stop)
        .and_then(|()| {
            Ok(pipe::run(
                sys,
                from.send(shipment),
                to.receive(shipment),
                flow,
            )?)
        })
        .and_then(|bytes| {
            perform_all(&to.finish(sys, shipment)?, sys, never)?;
            let of = &shipment.of;
            perform_all(&from.mark(of, &to.id()), sys, never).map_err(|cause| {
                crate::Error::State(format!(
                    "{} has landed, but may not be a base for others later: {cause}",
                    of.name
                ))
            })?;
            Ok(Shipped { bytes })
        });
    sent.map_err(|cause| match clear(sys, to, shipment) {
        Ok(()) => cause,
        Err(left) => crate::Error::State(format!(
            "{cause}; and what was received of it could not be removed: {left}"
        )),
    })
}

/// Abandons what has landed of it, unless it can be gone on with.
fn clear(sys: &dyn System, to: &dyn Landing, shipment: &Shipment) -> Result<()> {
    use crate::stream::Whole;
    let landed = to.landed(sys)?;
    let cut = landed.iter().find(|landed| {
        landed.point.name == shipment.of.name
            && landed.label.is_some()
            && landed.whole == Whole::Cut { resume: None }
    });
    match cut {
        Some(cut) => perform_all(&to.abandon(&cut.point.name), sys, &|| false),
        None => Ok(()),
    }
}
