package cloudclient

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

	"valence/internal/atomicfile"
	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

// Folder is the agent's folder within the data folder.
const Folder = "agent"

// IdentityFile is the file with the keys in that folder.
const IdentityFile = "identity.json"

// ErrNotJoined is returned for a data folder that has not joined a control plane.
var ErrNotJoined = errors.New("this atom has not joined a control plane")

// Identity identifies an atom to its control plane. The private keys never
// leave the machine.
type Identity struct {
	URL         string   `json:"url"`
	Atom        string   `json:"atom"`
	Account     string   `json:"account"`
	Name        string   `json:"name"`
	Environment string   `json:"environment,omitempty"` // at enrollment
	Key         []byte   `json:"key"`                   // Ed25519 seed
	SealKey     []byte   `json:"seal_key"`              // X25519 private key
	CA          string   `json:"ca,omitempty"`          // PEM; replaces the system's certificates
	Publishers  []string `json:"publishers,omitempty"`  // keys; none: signatures are not required
}

// NewIdentity creates keys for an atom.
func NewIdentity(address, name, ca string, publishers []string) (*Identity, error) {
	base, err := NormalizeAddress(address)
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

// NormalizeAddress returns the canonical form of a control plane's address. It
// must use https unless it is on this machine.
func NormalizeAddress(address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%q is not the address of a control plane, such as https://cloud.example", address)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("the address %q may contain only https://, the host and the port", address)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", fmt.Errorf("the control plane %s is not on this machine, so its address must use https", u.Host)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// LoadIdentity reads the identity from a data folder. It returns ErrNotJoined
// if there is none.
func LoadIdentity(data string) (*Identity, error) {
	path := filepath.Join(data, Folder, IdentityFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotJoined
	}
	if err != nil {
		return nil, err
	}
	id := &Identity{}
	if err := json.Unmarshal(text, id); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if _, err := id.PublisherKeys(); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if _, err := ecdh.X25519().NewPrivateKey(id.SealKey); err != nil || len(id.Key) != ed25519.SeedSize || id.Atom == "" {
		return nil, fmt.Errorf("%s is damaged: a key is missing", path)
	}
	return id, nil
}

// Save writes the identity to a data folder, readable only by its owner.
func (id *Identity) Save(data string) error {
	folder := filepath.Join(data, Folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(folder, IdentityFile), append(text, '\n'), 0o600); err != nil {
		return err
	}
	return sqlitedb.SyncDir(data)
}

func (id *Identity) signingKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(id.Key) }

func (id *Identity) PublisherKeys() ([]ed25519.PublicKey, error) {
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
