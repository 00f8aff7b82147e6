//! What becomes of the wish that the gateway forward ports to this node (UPnP IGD): told to the operator, who sees nothing of the gateway.
//!
//! libp2p looks for a gateway once, when the node starts, and renews what it forwards every half hour.

use super::network_config::PortMapping;
use libp2p::upnp;

/// Whether the gateway forwards ports to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Nobody asked for it.
    #[default]
    Off,
    /// The gateway is looked for, or has not said yes.
    Asked,
    Forwarded,
    /// No gateway answered, or the one that did refused: those that have no public address mostly do.
    NoGateway,
    /// The gateway is itself behind another one: what it forwards nobody outside could reach.
    PrivateGateway,
}

impl Forwarding {
    pub(super) fn of(wish: PortMapping) -> Self {
        match wish {
            PortMapping::Off => Self::Off,
            PortMapping::On => Self::Asked,
        }
    }

    /// What follows from what the gateway did.
    pub(super) fn after(event: &upnp::Event) -> Self {
        match event {
            upnp::Event::NewExternalAddr { local_addr, external_addr } => {
                tracing::info!(%local_addr, %external_addr, "the gateway forwards a port to this node");
                Self::Forwarded
            }
            upnp::Event::ExpiredExternalAddr { local_addr, external_addr } => {
                tracing::warn!(%local_addr, %external_addr, "the gateway forwards a port no more; it is asked again");
                Self::Asked
            }
            upnp::Event::GatewayNotFound => {
                tracing::warn!(
                    "no gateway answered that would forward ports to this node (UPnP); it is looked for again at the next start"
                );
                Self::NoGateway
            }
            upnp::Event::NonRoutableGateway => {
                tracing::warn!(
                    "the gateway has no public address itself: what it forwards could not be reached, so it is not asked (UPnP)"
                );
                Self::PrivateGateway
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_what_the_gateway_did() {
        let [local_addr, external_addr] =
            ["/ip4/10.0.0.2/tcp/44000", "/ip4/203.0.113.7/tcp/44000"].map(|text| text.parse().expect("an address"));
        assert_eq!([PortMapping::Off, PortMapping::On].map(Forwarding::of), [Forwarding::Off, Forwarding::Asked]);
        let forwarded = upnp::Event::NewExternalAddr { local_addr, external_addr };
        assert_eq!(Forwarding::after(&forwarded), Forwarding::Forwarded);
        assert_eq!(Forwarding::after(&upnp::Event::GatewayNotFound), Forwarding::NoGateway);
        assert_eq!(Forwarding::after(&upnp::Event::NonRoutableGateway), Forwarding::PrivateGateway);
    }
}
