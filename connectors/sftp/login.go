package sftp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"valence/connectors/tlsconfig"
	"valence/internal/access"
)

// login returns the ways in which the user logs in.
func (s *settings) login(policy *access.Policy) (all []ssh.AuthMethod, err error) {
	if s.Key != "" {
		text, err := tlsconfig.PEM(s.Key, policy)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		signer, err := ssh.ParsePrivateKey(text)
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked):
			return nil, errors.New("key: the key has a passphrase; remove it from a copy with ssh-keygen -p, and store the copy as a secret")
		case err != nil:
			return nil, errors.New("key: not a private key in PEM or in the format of OpenSSH")
		}
		all = append(all, ssh.PublicKeys(signer))
	}
	if s.Password != "" {
		all = append(all, ssh.Password(s.Password), ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for i := range questions {
				if echos[i] {
					return nil, errors.New("the server asks for more than a password")
				}
				answers[i] = s.Password
			}
			return answers, nil
		}))
	}
	return all, nil
}

// hostKeys returns the proof that a server is the known one: the algorithms of the known
// keys of an address, and the check of the key that it presents.
type hostKeys func(address string) (algorithms []string, check ssh.HostKeyCallback, err error)

// hostKeys returns the keys by which the server is recognized. A file is read for
// each session, because operators change it.
func (s *settings) hostKeys(policy *access.Policy) (hostKeys, error) {
	if s.KnownHosts != "" {
		known := func(address string) ([]string, ssh.HostKeyCallback, error) {
			return readKnownHosts(s.KnownHosts, policy, address)
		}
		_, _, err := known("files.example:22")
		return known, err
	}
	var keys []ssh.PublicKey
	var algorithms []string
	for _, line := range s.HostKey {
		key, err := parseHostKey(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		algorithms = append(algorithms, algorithmsOf(key.Type())...)
	}
	check := func(_ string, _ net.Addr, got ssh.PublicKey) error {
		if slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), got.Marshal()) }) {
			return nil
		}
		return &hostKeyError{got: got, want: keys, setting: "host_key"}
	}
	return func(string) ([]string, ssh.HostKeyCallback, error) { return algorithms, check, nil }, nil
}

func parseHostKey(line string) (ssh.PublicKey, error) {
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 {
		return nil, errors.New("host_key must be a public key such as `ssh-ed25519 AAAAC3Nza…`, as ssh-keyscan prints it after the name of the host")
	}
	return key, nil
}

// algorithmsOf returns the signature algorithms of a type of key.
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// readKnownHosts reads a known_hosts file. It fails with a *hostKeyError if the
// file has no key of the address.
func readKnownHosts(file string, policy *access.Policy, address string) ([]string, ssh.HostKeyCallback, error) {
	path, err := policy.Path(file)
	if err != nil {
		return nil, nil, fmt.Errorf("known_hosts: %w", err)
	}
	find, err := knownhosts.New(path)
	if err != nil {
		return nil, nil, fmt.Errorf("known_hosts: %w", err)
	}
	var algorithms []string
	var unknown *knownhosts.KeyError
	if errors.As(find(address, &net.TCPAddr{}, noKey{}), &unknown) {
		for _, k := range unknown.Want {
			algorithms = append(algorithms, algorithmsOf(k.Key.Type())...)
		}
	}
	check := func(address string, remote net.Addr, got ssh.PublicKey) error {
		err := find(address, remote, got)
		var mismatch *knownhosts.KeyError
		if !errors.As(err, &mismatch) {
			return err
		}
		e := &hostKeyError{got: got, setting: "known_hosts"}
		for _, k := range mismatch.Want {
			e.want = append(e.want, k.Key)
		}
		return e
	}
	return algorithms, check, nil
}

// noKey is a key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// hostKeyError is the error of a server that is not the known one.
type hostKeyError struct {
	got     ssh.PublicKey
	want    []ssh.PublicKey // empty: the server is not known
	setting string
}

// Error returns the message, with the fingerprints of the keys.
func (e *hostKeyError) Error() string {
	got := e.got.Type() + " " + ssh.FingerprintSHA256(e.got)
	if len(e.want) == 0 {
		return "the server is not in " + e.setting + "; its key is " + got
	}
	var want []string
	for _, k := range e.want {
		want = append(want, k.Type()+" "+ssh.FingerprintSHA256(k))
	}
	return fmt.Sprintf("the server is not the expected one: its host key is %s, want %s; if its operator confirms a new key, change %s", got, strings.Join(want, " or "), e.setting)
}
