package wire

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// sealInfo binds a ciphertext to its atom and name (RFC 9180, 5.1).
func sealInfo(atom, name string) []byte { return []byte("valence-secret-1\n" + atom + "\n" + name) }

// Seal encrypts a secret for one atom and name (HPKE, RFC 9180: X25519,
// HKDF-SHA256, AES-256-GCM).
func Seal(sealKey []byte, atom, name, secret string) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(sealKey)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	k, err := hpke.NewDHKEMPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return hpke.Seal(k, hpke.HKDFSHA256(), hpke.AES256GCM(), sealInfo(atom, name), []byte(secret))
}

// Open decrypts a secret that Seal encrypted for this atom and name.
func Open(key *ecdh.PrivateKey, atom, name string, sealed []byte) (string, error) {
	k, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	text, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), sealInfo(atom, name), sealed)
	if err != nil {
		return "", fmt.Errorf("open the secret %s: %w", name, err)
	}
	return string(text), nil
}
