"""The key-encryption key in a PKCS#11 token: `key` (TokenKey) is for the stores, `uri` names tokens, `process` meets them."""
