package servers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// ErrNoPython says that a server in Python cannot be started on this machine.
// Tests that need one are skipped.
var ErrNoPython = errors.New("no Python server on this machine: run `make setup` with Python 3.10 or newer and pip installed")

// Spyne is a SOAP service in Python, at the paths `soap11` and `soap12`.
type Spyne struct {
	Port int

	python, packages string
	process
}

//go:embed testdata/spyne.py
var spyneMain []byte

// NewSpyne starts the service. Close stops it. The error is ErrNoPython if this
// machine cannot run it.
func NewSpyne() (*Spyne, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, ErrNoPython
	}
	dir, err := cache("python", "spyne")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "spyne")); err != nil {
		return nil, fmt.Errorf("%w (%s has no packages)", ErrNoPython, filepath.Join(".cache", "python", "spyne"))
	}
	s := &Spyne{python: python, packages: dir}
	if s.dir, err = os.MkdirTemp("", "valence-spyne"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "server.py"), spyneMain, 0o600); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	ready := func(ctx context.Context) error { return answers(ctx, s.URL("soap12")+"/?wsdl") }
	if err := s.start(&s.Port, s.command, ready); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// URL returns the address of a service.
func (s *Spyne) URL(service string) string { return "http://" + loopback(s.Port) + "/" + service }

func (s *Spyne) command() (*exec.Cmd, error) {
	cmd := exec.Command(s.python, filepath.Join(s.dir, "server.py"), strconv.Itoa(s.Port))
	cmd.Env = append(os.Environ(), "PYTHONPATH="+s.packages, "PYTHONDONTWRITEBYTECODE=1")
	return cmd, nil
}

// answers reports whether a GET request succeeds.
func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
