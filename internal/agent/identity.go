package agent

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

// Folder is where, in the data folder, everything of the agent is kept.
const Folder = "agent"

// IdentityFile is, in that folder, the file with the keys.
const IdentityFile = "identity.json"

// ErrNotEnrolled is the error of a data folder that has not joined.
var ErrNotEnrolled = errors.New("this atom has not joined a control plane")

// Identity is who an atom is to its control plane. The private keys in it
// never leave the machine.
type Identity struct {
	URL         string   `json:"url"`
	Atom        string   `json:"atom"`
	Account     string   `json:"account"`
	Name        string   `json:"name"`
	Environment string   `json:"environment,omitempty"` // when it joined
	Key         []byte   `json:"key"`                   // Ed25519 seed
	SealKey     []byte   `json:"seal_key"`              // X25519 private key
	CA          string   `json:"ca,omitempty"`          // PEM, in place of the system's certificates
	Publishers  []string `json:"publishers,omitempty"`  // keys; none: packages need no signature
}

// NewIdentity makes keys for an atom of a control plane.
func NewIdentity(address, name, ca string, publishers []string) (*Identity, error) {
	base, err := CheckAddress(address)
	if err != nil {
		return nil, err
	}
	for _, p := range publishers {
		if _, err := wire.ParseKey(p); err != nil {
			return nil, err
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	seal, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Identity{URL: base, Name: name, CA: ca, Publishers: publishers, Key: key.Seed(), SealKey: seal.Bytes()}, nil
}

// CheckAddress gives the address of a control plane in its one form. It must
// be https, unless it is of this machine.
func CheckAddress(address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%q is no address of a control plane, such as https://cloud.example", address)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("the address %q must hold nothing but https://, the host and the port", address)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", fmt.Errorf("the control plane %s is not on this machine, so its address must be https", u.Host)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Load reads the identity of a data folder; ErrNotEnrolled if it has none.
func Load(data string) (*Identity, error) {
	path := filepath.Join(data, Folder, IdentityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotEnrolled
	}
	if err != nil {
		return nil, err
	}
	id := &Identity{}
	if err := json.Unmarshal(text, id); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if _, err := id.publishers(); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if _, err := ecdh.X25519().NewPrivateKey(id.SealKey); err != nil || len(id.Key) != ed25519.SeedSize || id.Atom == "" {
		return nil, fmt.Errorf("%s is damaged: a key is missing", path)
	}
	return id, nil
}

// Save writes the identity into a data folder, for its owner only.
func (id *Identity) Save(data string) error {
	folder := filepath.Join(data, Folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(folder, IdentityFile), append(text, '\n')); err != nil {
		return err
	}
	return sqlitedb.SyncDir(data)
}

func (id *Identity) sign() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(id.Key) }

func (id *Identity) publishers() ([]ed25519.PublicKey, error) {
	keys := make([]ed25519.PublicKey, len(id.Publishers))
	for i, p := range id.Publishers {
		key, err := wire.ParseKey(p)
		if err != nil {
			return nil, err
		}
		keys[i] = key
	}
	return keys, nil
}

// writeWhole writes a file for its owner so that it is there whole or not at
// all, also after a power cut.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return sqlitedb.SyncDir(filepath.Dir(path))
}
