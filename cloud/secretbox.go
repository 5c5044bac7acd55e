package cloud

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// KeyBytes is the length of the key that encrypts secrets.
const KeyBytes = 32

// box encrypts secrets for the store with AES-256-GCM, bound to their names.
type box struct{ aead cipher.AEAD }

func newBox(key []byte) (*box, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("the key of the secrets has %d bytes, want %d", len(key), KeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &box{aead}, err
}

func (b *box) seal(what, secret string) []byte {
	nonce := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(secret)+b.aead.Overhead())
	rand.Read(nonce) // never fails: crypto/rand
	return b.aead.Seal(nonce, nonce, []byte(secret), []byte(what))
}

func (b *box) open(what string, sealed []byte) (string, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n {
		return "", errors.New("the stored secret is corrupt")
	}
	text, err := b.aead.Open(nil, sealed[:n], sealed[n:], []byte(what))
	if err != nil {
		return "", errors.New("cannot decrypt the stored secret: check that secrets.key belongs to this data folder")
	}
	return string(text), nil
}
