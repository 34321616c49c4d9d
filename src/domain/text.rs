//! Words of the field as they stand in JSON: the text that `Display` writes and `FromStr` reads.

use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::{Endpoint, InstanceName, PublicKey, RouterOsVersion, SiteId, SubnetSet};

macro_rules! as_text {
    ($($word:ty),*) => {$(
        impl Serialize for $word {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $word {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                <$word>::from_str(&text).map_err(D::Error::custom)
            }
        }
    )*};
}
as_text!(Endpoint, InstanceName, PublicKey, RouterOsVersion, SiteId);

/// A list of prefixes; reading it sorts it, cuts off host bits and drops what another prefix covers.
impl Serialize for SubnetSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for SubnetSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_their_text_in_json_and_what_is_none_is_refused() {
        let set: SubnetSet = serde_json::from_str(r#"["10.1.0.7/16","10.1.2.0/24"]"#).unwrap();
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["10.1.0.0/16"]"#);
        let endpoint: Endpoint = serde_json::from_str(r#""[2001:db8::1]:51820""#).unwrap();
        assert_eq!(serde_json::to_string(&endpoint).unwrap(), r#""[2001:db8::1]:51820""#);
        let error = serde_json::from_str::<InstanceName>(r#""Not a label""#).unwrap_err();
        assert!(error.to_string().contains("DNS label"), "{error}");
    }
}
