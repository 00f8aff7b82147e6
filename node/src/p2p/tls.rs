//! The handshake that secures a TCP connection: TLS 1.3 as libp2p has it (libp2p specifications, `tls/tls.md`), which QUIC brings with it.
//!
//! libp2p's own upgrade offers ChaCha20 first, whatever the processor. Here a client offers first what its processor is fast at, and a server takes
//! what the client likes best: with instructions for AES that is half of the time. Certificates, and what is to be checked of them, are libp2p's.

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};
use futures_rustls::rustls::client::Resumption;
use futures_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use futures_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use futures_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use futures_rustls::rustls::version::TLS13;
use futures_rustls::rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme, SupportedCipherSuite,
};
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p::PeerId;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::tls::certificate::{self, GenError};
use libp2p::tls::{TlsStream, make_client_config, make_server_config};
use std::io;
use std::iter;
use std::sync::Arc;

const PROTOCOL: &str = "/tls/1.0.0";

/// The TLS of a node, for all of its connections.
#[derive(Clone)]
pub(super) struct Tls {
    client: TlsConnector,
    server: TlsAcceptor,
}

impl Tls {
    /// Makes a certificate that `key` vouches for.
    pub(super) fn new(key: &Keypair) -> Result<Self, GenError> {
        Self::with_ciphers(key, ciphers(has_aes_instructions()))
    }

    fn with_ciphers(key: &Keypair, cipher_suites: Vec<SupportedCipherSuite>) -> Result<Self, GenError> {
        let standard = make_client_config(key, None)?;
        let provider = CryptoProvider { cipher_suites, ..standard.crypto_provider().as_ref().clone() };
        let mut client = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider of libp2p has all that TLS 1.3 needs")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OwnCertificate))
            .with_client_cert_resolver(standard.client_auth_cert_resolver);
        client.alpn_protocols = standard.alpn_protocols;
        // A session would be looked for under the name of the server, and no peer has one.
        client.resumption = Resumption::disabled();
        let mut server = make_server_config(key)?;
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client).into(), server: Arc::new(server).into() })
    }
}

/// Those of the provider in the order in which this processor is fast at them.
fn ciphers(aes_instructions: bool) -> Vec<SupportedCipherSuite> {
    let mut suites = aws_lc_rs::default_provider().cipher_suites;
    suites.retain(|suite| suite.tls13().is_some());
    // The order stays otherwise: the provider has AES first.
    suites.sort_by_key(|suite| aes_instructions == (*suite == TLS13_CHACHA20_POLY1305_SHA256));
    suites
}

fn has_aes_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, TlsStream<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        Box::pin(async move {
            let stream = self.server.accept(socket).await?;
            let peer = peer(stream.get_ref().1)?;
            Ok((peer, stream.into()))
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Tls {
    type Output = (PeerId, TlsStream<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        Box::pin(async move {
            // For an address no server name is sent, as libp2p demands.
            let nameless = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
            let stream = self.client.connect(nameless, socket).await?;
            let peer = peer(stream.get_ref().1)?;
            Ok((peer, stream.into()))
        })
    }
}

/// Who the other side of a handshake is; who was to be reached is compared by the swarm.
fn peer(state: &CommonState) -> io::Result<PeerId> {
    match state.peer_certificates() {
        Some([certificate]) => Ok(certificate::parse(certificate).map_err(io::Error::other)?.peer_id()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake came without exactly one certificate")),
    }
}

/// What libp2p demands of a server's certificate: one, self-signed, in which the key of the node vouches for the key of the handshake.
#[derive(Debug)]
struct OwnCertificate;

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !intermediates.is_empty() {
            return Err(Error::General("a node has exactly one certificate".into()));
        }
        certificate::parse(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Those that libp2p's check of a certificate knows.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA256,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::tests::in_time;
    use futures::future::{Either, join};
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};
    use futures_rustls::rustls::server::{ClientHello, ResolvesServerCert};
    use futures_rustls::rustls::sign::CertifiedKey;
    use futures_rustls::rustls::{CipherSuite, ServerConfig};
    use tokio::io::DuplexStream;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

    type Socket = Compat<DuplexStream>;

    fn sockets() -> (Socket, Socket) {
        let (near, far) = tokio::io::duplex(1_024);
        (near.compat(), far.compat())
    }

    /// Whom each side met: the client first.
    async fn meet<S, C, T>(client: C, server: S) -> (Result<(PeerId, TlsStream<Socket>), C::Error>, Result<(PeerId, T), S::Error>)
    where
        C: OutboundConnectionUpgrade<Socket, Output = (PeerId, TlsStream<Socket>), Info = &'static str>,
        S: InboundConnectionUpgrade<Socket, Output = (PeerId, T), Info = &'static str>,
    {
        let (near, far) = sockets();
        in_time(join(client.upgrade_outbound(near, PROTOCOL), server.upgrade_inbound(far, PROTOCOL))).await
    }

    fn cipher(stream: &TlsStream<Socket>) -> CipherSuite {
        stream.get_ref().1.negotiated_cipher_suite().expect("the handshake is over").suite()
    }

    #[tokio::test]
    async fn a_client_gets_the_cipher_that_its_processor_is_fast_at_and_both_learn_who_the_other_is() {
        for (aes_instructions, expected) in
            [(true, CipherSuite::TLS13_AES_256_GCM_SHA384), (false, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)]
        {
            let [ours, theirs] = [(); 2].map(|()| Keypair::generate_ed25519());
            let client = Tls::with_ciphers(&ours, ciphers(aes_instructions)).expect("a certificate");
            let server = Tls::with_ciphers(&theirs, ciphers(!aes_instructions)).expect("a certificate");
            let (met, met_by) = meet(client, server).await;
            let ((met, mut near), (met_by, mut far)) = (met.expect("a server"), met_by.expect("a client"));
            assert_eq!([met, met_by], [theirs, ours].map(|key| key.public().to_peer_id()));
            assert_eq!([cipher(&near), cipher(&far)], [expected; 2]);

            let sent: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
            let mut received = vec![0; sent.len()];
            let send = async {
                near.write_all(&sent).await?;
                near.flush().await
            };
            let (sending, receiving) = in_time(join(send, far.read_exact(&mut received))).await;
            assert!(sending.is_ok() && receiving.is_ok() && received == sent);
        }
    }

    #[tokio::test]
    async fn it_is_the_handshake_that_libp2p_has() {
        let [ours, theirs] = [(); 2].map(|()| Keypair::generate_ed25519());
        let standard = || libp2p::tls::Config::new(&theirs).expect("a certificate");
        let own = || Tls::new(&ours).expect("a certificate");
        let [ours, theirs] = [&ours, &theirs].map(|key| key.public().to_peer_id());
        let (met, met_by) = meet(own(), standard()).await;
        assert_eq!((met.expect("a server").0, met_by.expect("a client").0), (theirs, ours));
        let (met, met_by) = meet(standard(), own()).await;
        assert_eq!((met.expect("a server").0, met_by.expect("a client").0), (ours, theirs));
    }

    /// A server that shows what it likes.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    async fn client_of(
        shown: Vec<CertificateDer<'static>>,
        key: &futures_rustls::pki_types::PrivateKeyDer<'_>,
    ) -> io::Result<PeerId> {
        let key = aws_lc_rs::sign::any_supported_type(key).expect("a key of a certificate");
        let node = Keypair::generate_ed25519();
        let mut server: ServerConfig = make_server_config(&node).expect("a certificate");
        server.cert_resolver = Arc::new(Shows(CertifiedKey::new(shown, key).into()));
        let (near, far) = sockets();
        let client = Tls::new(&node).expect("a certificate").upgrade_outbound(near, PROTOCOL);
        let serving = async move {
            let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
            stream.read(&mut [0]).await
        };
        let (client, serving) = (client, Box::pin(serving));
        match in_time(futures::future::select(client, serving)).await {
            Either::Left((met, _)) => met.map(|(peer, _)| peer),
            Either::Right((_, client)) => in_time(client).await.map(|(peer, _)| peer),
        }
    }

    #[tokio::test]
    async fn a_server_without_a_certificate_of_its_own_is_refused() {
        let (node, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let (shown, key) = certificate::generate(&node).expect("a certificate");
        let (of_other, _) = certificate::generate(&other).expect("a certificate");
        assert_eq!(client_of(vec![shown.clone()], &key).await.expect("all is well"), node.public().to_peer_id());

        let refused = |shown| async { client_of(shown, &key).await.expect_err("it is refused").to_string() };
        let stolen = refused(vec![of_other.clone()]).await;
        assert!(stolen.contains("BadSignature"), "a certificate of another node, without its key: {stolen}");
        let two = refused(vec![shown.clone(), of_other]).await;
        assert!(two.contains("exactly one certificate"), "{two}");
        for at in (0..shown.len()).step_by(7) {
            let mut changed = shown.to_vec();
            changed[at] ^= 1;
            refused(vec![changed.into()]).await;
        }
    }
}
