package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Mosquitto is a Mosquitto broker with the user MosquittoUser. It writes every
// change to disk, so that a kill loses nothing.
type Mosquitto struct {
	Port int

	extra string
	process
}

// The user of a Mosquitto broker, who may use every topic but those that begin
// with `forbidden/`.
const (
	MosquittoUser     = "valence"
	MosquittoPassword = "not-in-any-message"
)

// NewMosquitto starts a broker with additional lines of configuration. Close
// stops it.
func NewMosquitto(extra string) (*Mosquitto, error) {
	program, err := exec.LookPath("mosquitto_passwd")
	if err == nil {
		_, err = mosquittoProgram()
	}
	if err != nil {
		return nil, fmt.Errorf("Mosquitto is not installed: run `make setup`: %w", err)
	}
	dir, err := os.MkdirTemp("", "valence-mosquitto")
	if err != nil {
		return nil, err
	}
	m := &Mosquitto{extra: extra, process: process{dir: dir}}
	if out, err := exec.Command(program, "-b", "-c", filepath.Join(dir, "passwords"), MosquittoUser, MosquittoPassword).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("mosquitto_passwd: %w\n%s", err, out), m.Close())
	}
	acl := "user " + MosquittoUser + "\ntopic readwrite #\ntopic deny forbidden/#\n"
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(acl), 0o600); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	if err := m.Start(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// mosquittoProgram returns the path of the broker, which is not on every PATH.
func mosquittoProgram() (string, error) {
	if path, err := exec.LookPath("mosquitto"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/mosquitto")
}

// URL returns the URL of the broker, without the user.
func (m *Mosquitto) URL() string { return "mqtt://" + loopback(m.Port) }

// Start starts the broker, also again after Kill, and waits until it accepts
// connections.
func (m *Mosquitto) Start() error {
	return m.start(&m.Port, m.command, func(ctx context.Context) error { return dials(ctx, m.Port) })
}

func (m *Mosquitto) command() (*exec.Cmd, error) {
	program, err := mosquittoProgram()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`listener %d 127.0.0.1
%s
user %s
allow_anonymous false
password_file %s/passwords
acl_file %s/acl
persistence true
persistence_location %s/
autosave_interval 1
autosave_on_changes true
log_type all
`, m.Port, m.extra, owner(), m.dir, m.dir, m.dir)
	file := filepath.Join(m.dir, "mosquitto.conf")
	return exec.Command(program, "-c", file), os.WriteFile(file, []byte(config), 0o600)
}
