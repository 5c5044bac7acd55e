package servers

import (
	"context"
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Cxf is Apache CXF with a service in several styles, each at a path: `wrapped`,
// `wrapped12`, `bare`, `rpc`, `files` with attachments, and `secure`, which wants
// the user CxfUser.
type Cxf struct {
	Port int

	java, jars string
	process
}

// The user of the service `secure`.
const (
	CxfUser     = "valence"
	CxfPassword = "not-in-any-message"
)

//go:embed testdata/Cxf.java
var cxfMain []byte

// NewCxf starts the services. Close stops them. The error is ErrNoJava if this
// machine cannot run them.
func NewCxf() (*Cxf, error) {
	c := &Cxf{}
	var err error
	if c.java, c.jars, err = cxfJars(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "valence-cxf"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "Cxf.java"), cxfMain, 0o600); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	ready := func(ctx context.Context) error { return answers(ctx, c.URL("secure")+"?wsdl") }
	if err := c.start(&c.Port, c.command, ready); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// URL returns the address of a service.
func (c *Cxf) URL(service string) string { return "http://" + loopback(c.Port) + "/" + service }

func (c *Cxf) command() (*exec.Cmd, error) {
	args := append(cxfOptions(c.jars), filepath.Join(c.dir, "Cxf.java"), strconv.Itoa(c.Port), CxfUser, CxfPassword)
	return exec.Command(c.java, args...), nil
}

// CxfCommand returns the command that runs a source file in Java with the jars of
// CXF, such as a client. The error is ErrNoJava if this machine cannot run it.
func CxfCommand(ctx context.Context, file string, args ...string) (*exec.Cmd, error) {
	java, dir, err := cxfJars()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, java, append(append(cxfOptions(dir), file), args...)...), nil
}

func cxfJars() (java, dir string, err error) {
	if java, dir, err = jars("cxf"); err != nil {
		return "", "", err
	}
	if _, err := exec.LookPath("javac"); err != nil {
		return "", "", ErrNoJava
	}
	return java, dir, nil
}

func cxfOptions(dir string) []string {
	return []string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(dir, "*")}
}
