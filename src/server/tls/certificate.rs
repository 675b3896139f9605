//! What a certificate says, in the words of RabbitMQ's listings, and which of it is a user's name.

use std::fmt::Write as _;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::{LoginFrom, NameKind};
use crate::broker::CertificateReport;

/// Short names of attributes, as RabbitMQ writes them.
const ATTRIBUTES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "TITLE"),
    ("2.5.4.42", "GIVENNAME"),
    ("2.5.4.43", "INITIALS"),
    ("2.5.4.44", "GENERATIONQUALIFIER"),
    ("2.5.4.65", "PSEUDONYM"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// What is read of a certificate.
pub(super) struct Certificate {
    pub(super) report: CertificateReport,
    common_names: Vec<String>,
    alternative_names: Vec<(NameKind, String)>,
}

/// `None`: it cannot be read.
pub(super) fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
    let serial = certificate.raw_serial().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
    let report = CertificateReport {
        subject: distinguished(certificate.subject()),
        issuer: distinguished(certificate.issuer()),
        validity: format!("{} - {}", moment(from), moment(to)),
        serial_number: serial.trim_start_matches('0').to_owned(),
    };
    let common_names = certificate.subject().iter_common_name().map(text).collect();
    Some(Certificate { report, common_names, alternative_names: alternative_names(&certificate) })
}

impl Certificate {
    /// The user's name; `None`: it has none of this sort.
    pub(super) fn name(&self, from: LoginFrom) -> Option<String> {
        let name = match from {
            LoginFrom::DistinguishedName => self.report.subject.clone(),
            LoginFrom::CommonName => self.common_names.join(","),
            LoginFrom::AlternativeName { kind, index } => {
                let mut of_kind = self.alternative_names.iter().filter(|(own, _)| *own == kind);
                of_kind.nth(index)?.1.clone()
            }
        };
        (!name.is_empty()).then_some(name)
    }
}

/// The hosts a certificate is for, in lower case.
pub(super) fn hosts(der: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let names = alternative_names(&certificate).into_iter();
    names.filter(|(kind, _)| *kind == NameKind::Dns).map(|(_, name)| name.to_ascii_lowercase()).collect()
}

/// Whether it has signed itself, as an authority's has.
pub(super) fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<(NameKind, String)> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((NameKind::Dns, (*name).to_owned())),
        GeneralName::RFC822Name(name) => Some((NameKind::Email, (*name).to_owned())),
        GeneralName::URI(name) => Some((NameKind::Uri, (*name).to_owned())),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from));
            address.ok().map(|address| (NameKind::Ip, address.to_string()))
        }
        GeneralName::OtherName(_, value) => innermost(value).map(|value| (NameKind::Other, value)),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(read).collect()
}

/// The text in a value's wrappings.
fn innermost(der: &[u8]) -> Option<String> {
    let (_, value) = Any::from_der(der).ok()?;
    if value.header.is_constructed() { innermost(value.data) } else { String::from_utf8(value.data.to_vec()).ok() }
}

/// RFC 4514: the last part first.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter()
        .map(|part| part.iter().map(|attribute| attribute_text(attribute)).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = ATTRIBUTES.iter().find(|(own, _)| *own == oid).map(|(_, name)| *name);
    format!("{}={}", known.unwrap_or(&oid), escaped(&text(attribute)))
}

/// A text of any of ASN.1's types.
fn text(attribute: &AttributeTypeAndValue<'_>) -> String {
    use x509_parser::asn1_rs::Tag;
    let octets = attribute.as_slice();
    match attribute.attr_value().tag() {
        Tag::BmpString => {
            let units = octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        // Latin 1, whatever the standard says.
        Tag::T61String => octets.iter().map(|octet| char::from(*octet)).collect(),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// With backslashes where RFC 4514 wants them; what is not ASCII is written in hexadecimal, as RabbitMQ does.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b'#' if at == 0 => out.push_str("\\#"),
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            32..=126 => out.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
    out
}

/// `2026-11-30T13:00:46Z`.
fn moment(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}

#[cfg(test)]
mod tests {
    use rcgen::string::BmpString;
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate() -> Certificate {
        let mut params = CertificateParams::new([]).unwrap();
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Häre, Inc.");
        name.push(DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]), "a@b.c");
        name.push(DnType::CommonName, " #h\\re<1> ");
        name.push(DnType::CustomDnType(vec![1, 2, 3, 4, 5]), DnValue::BmpString(BmpString::try_from("zü").unwrap()));
        params.distinguished_name = name;
        params.serial_number = Some(vec![0x5B, 0xA7, 0x0A].into());
        params.not_before = rcgen::date_time_ymd(2026, 11, 30);
        params.not_after = rcgen::date_time_ymd(2126, 1, 2);
        params.subject_alt_names = vec![
            SanType::DnsName("One.example".try_into().unwrap()),
            SanType::DnsName("two.example".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("e@x.y".try_into().unwrap()),
            SanType::URI("spiffe://a/b".try_into().unwrap()),
            SanType::OtherName((vec![1, 2, 3, 4], "foo".into())),
        ];
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(hosts(signed.der()), ["one.example", "two.example"]);
        assert!(is_self_issued(signed.der()));
        read(signed.der()).unwrap()
    }

    /// RabbitMQ 4.3.6: `rabbit_cert_info:subject`, `issuer`, `validity`, `serial_number`. FEATURES SA-3.
    #[test]
    fn certificates_are_told_as_by_rabbitmq() {
        let report = certificate().report;
        let subject = "1.2.3.4.5=z\\C3\\BC,CN=\\ #h\\\\re\\<1\\>\\ ,EMAILADDRESS=a@b.c,O=H\\C3\\A4re\\, Inc.,C=DE";
        assert_eq!((report.subject.as_str(), report.issuer.as_str()), (subject, subject));
        assert_eq!(report.validity, "2026-11-30T00:00:00Z - 2126-01-02T00:00:00Z");
        assert_eq!(report.serial_number, "5BA70A");
    }

    /// FEATURES SA-3: DN, CN or one of the alternative names.
    #[test]
    fn a_user_has_one_of_its_names() {
        let certificate = certificate();
        let alternative = |kind, index| certificate.name(LoginFrom::AlternativeName { kind, index });
        assert_eq!(certificate.name(LoginFrom::DistinguishedName).as_ref(), Some(&certificate.report.subject));
        assert_eq!(certificate.name(LoginFrom::CommonName).as_deref(), Some(" #h\\re<1> "));
        assert_eq!(alternative(NameKind::Dns, 1).as_deref(), Some("two.example"));
        assert_eq!(alternative(NameKind::Ip, 0).as_deref(), Some("10.0.0.1"));
        assert_eq!(alternative(NameKind::Ip, 1).as_deref(), Some("2001:db8::1"));
        assert_eq!(alternative(NameKind::Email, 0).as_deref(), Some("e@x.y"));
        assert_eq!(alternative(NameKind::Uri, 0).as_deref(), Some("spiffe://a/b"));
        assert_eq!(alternative(NameKind::Other, 0).as_deref(), Some("foo"));
        assert_eq!(alternative(NameKind::Dns, 2), None);
        let mut nameless = CertificateParams::new([]).unwrap();
        nameless.distinguished_name = DistinguishedName::new();
        nameless.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
        let nameless = read(nameless.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap();
        assert_eq!((nameless.name(LoginFrom::CommonName), nameless.name(LoginFrom::DistinguishedName)), (None, None));
    }
}
