package console

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// TokenFile is the name of the file with the admin token in the data folder.
const TokenFile = "admin.token"

// Token gives the token of a data folder. The first call makes it: 256 random
// bits in a file that only its owner may read. A file that others may read is
// an error, since who has read it is not known.
func Token(folder string) (string, error) {
	path := filepath.Join(folder, TokenFile)
	token, err := ReadToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand
	token = base64.RawURLEncoding.EncodeToString(b[:])
	if err := writeSecret(path, token+"\n"); err != nil {
		return "", fmt.Errorf("make the admin token: %w", err)
	}
	return token, nil
}

// ErrOpenToOthers tells that a token is not used because others may read it.
var ErrOpenToOthers = errors.New("may be read by others")

// ReadToken reads a token file.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s %w (mode %04o): delete it, so that a new one is made, or chmod 600 it", path, ErrOpenToOthers, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 32 || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s holds no token of at least 32 characters: delete it, so that a new one is made", path)
	}
	return token, nil
}

// writeSecret writes a file whole or not at all, readable by its owner only.
func writeSecret(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// ErrExposed is why an admin plane is not opened: others on the network could
// read the token on its way.
var ErrExposed = errors.New("the admin plane would be reachable from other machines without TLS")

// Allowed reports whether the admin plane may listen at an address:
// on loopback, with TLS, or where the operator said so.
func Allowed(addr net.Addr, tls, beyondLoopback bool) error {
	if tls || beyondLoopback {
		return nil
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		return nil
	}
	return ErrExposed
}
