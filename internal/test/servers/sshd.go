package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
)

const sshd = "/usr/sbin/sshd"

// SSHD is OpenSSH, which serves files with its SFTP server. The user is the one
// of the test.
type SSHD struct {
	User  string
	Key   string // path of the user's private key
	Files string // the folder for files

	dir string
	inetd
}

// NewSSHD starts a server. Close stops it.
func NewSSHD() (*SSHD, error) {
	if _, err := os.Stat(sshd); err != nil {
		return nil, fmt.Errorf("the OpenSSH server is not installed: run `make setup`: %w", err)
	}
	if os.Getuid() == 0 { // sshd refuses to start without it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "valence-sshd")
	if err != nil {
		return nil, err
	}
	s := &SSHD{dir: dir, Key: filepath.Join(dir, "user"), Files: filepath.Join(dir, "files")}
	err = s.configure()
	if err == nil {
		err = s.listen(filepath.Join(dir, "log"), sshd, "-i", "-e", "-f", s.config())
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *SSHD) configure() error {
	who, err := user.Current()
	if err != nil {
		return err
	}
	s.User = who.Username
	if err := os.Mkdir(s.Files, 0o755); err != nil {
		return err
	}
	if err := newSSHKey(s.Key); err != nil {
		return err
	}
	if err := s.ChangeHostKey(); err != nil {
		return err
	}
	config := fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s.pub\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
		s.hostKey(), s.Key)
	return os.WriteFile(s.config(), []byte(config), 0o600)
}

func (s *SSHD) config() string  { return filepath.Join(s.dir, "sshd_config") }
func (s *SSHD) hostKey() string { return filepath.Join(s.dir, "host") }

func newSSHKey(path string) error {
	if err := errors.Join(removed(path), removed(path+".pub")); err != nil {
		return err
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path).CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w\n%s", err, out)
	}
	return nil
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// ChangeHostKey makes the server identify itself with a new key to clients that
// connect from now on.
func (s *SSHD) ChangeHostKey() error { return newSSHKey(s.hostKey()) }

// HostKey returns the server's public key as a line.
func (s *SSHD) HostKey() string {
	text, err := os.ReadFile(s.hostKey() + ".pub")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// Log returns the messages of the server.
func (s *SSHD) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Close stops the server and removes its files.
func (s *SSHD) Close() error { return errors.Join(s.inetd.close(), os.RemoveAll(s.dir)) }
