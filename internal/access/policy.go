// Package access restricts the hosts, folders, files and variables of the
// machine that a project may use. The data folder of the atom is out of reach
// of every project. Packages that a control plane deploys are also restricted
// by the file policy.yaml in the data folder, and signed ones by their
// publisher.
package access

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"valence/internal/egress"
)

// File is the name of the policy in the data folder.
const File = "policy.yaml"

// Policy states the parts of the machine and the network that one project may
// use. A nil Policy restricts nothing. It is immutable and safe for concurrent
// use.
type Policy struct {
	data     *folder
	deployed bool // the lists apply
	list     lists
	hosts    *egress.Hosts // of list.Hosts; nil: every host
	limits   []limit       // of the file and of the publisher
	identity string
}

// lists are the keys of the file.
type lists struct {
	Connectors  []string // nil: all
	Hosts       []string // nil: all
	Roots       []string
	Variables   []string
	SecretFiles []string
}

// Local returns the policy of a project whose author runs it on this machine:
// everything but the data folder.
func Local(data string) (*Policy, error) {
	f, err := newFolder(data)
	if err != nil {
		return nil, err
	}
	return &Policy{data: f}, nil
}

// Deployed returns the policy of packages that a control plane deploys, as the
// file in the data folder states it. Without a file they may use the network,
// and nothing of the machine. connectors are the names that the file may use; none
// allows any. The error is of type fault.Problems if the file is not valid.
func Deployed(data string, connectors ...string) (*Policy, error) {
	p, err := Local(data)
	if err != nil {
		return nil, err
	}
	p.deployed = true
	path := filepath.Join(data, File)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil
	case err != nil:
		return nil, fmt.Errorf("read the policy of this atom: %w", err)
	}
	if err := p.parse(path, text, connectors); err != nil {
		return nil, err
	}
	p.identity = string(text)
	return p, nil
}

// Signed returns a policy that also restricts a project to the hosts that its
// publisher allows. Entries that egress.ParseHosts rejects match nothing.
func (p *Policy) Signed(project string, hosts []string) *Policy {
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { _, err := egress.ParseHosts([]string{h}); return err != nil })
	allowed, _ := egress.ParseHosts(hosts) // all are valid
	signed := *p
	signed.limits = append(slices.Clone(p.limits), limit{allowed, func(host, port string) error {
		return &Refusal{
			Msg:  "the publisher of " + project + " does not allow the host " + net.JoinHostPort(host, port),
			Hint: "correct the values that the control plane sets, or let the publisher sign the package with this host in its list",
		}
	}})
	signed.identity += fmt.Sprintf("%q", hosts)
	return &signed
}

// Identity returns text that is equal for equal policies.
func (p *Policy) Identity() string {
	if p == nil {
		return ""
	}
	return p.identity
}

// Connector returns an error if a connector is not allowed.
func (p *Policy) Connector(name string) error {
	if p == nil || !p.deployed || p.list.Connectors == nil || slices.Contains(p.list.Connectors, name) {
		return nil
	}
	return refuse("connectors", name, "the connector `%s`", name)
}

// Variable returns an error if an environment variable of the machine is not
// allowed.
func (p *Policy) Variable(name string) error {
	if p == nil || !p.deployed {
		return nil
	}
	for _, v := range p.list.Variables {
		if prefix, open := strings.CutSuffix(v, "*"); v == name || open && strings.HasPrefix(name, prefix) {
			return nil
		}
	}
	return refuse("variables", name, "the variable %s of the machine", name)
}

// Refusal is the error for everything that a policy does not allow. It is both
// fs.ErrPermission and egress.ErrRefused.
type Refusal struct{ Msg, Hint string }

func (r *Refusal) Error() string { return r.Msg }

// Is reports whether target is fs.ErrPermission or egress.ErrRefused.
func (r *Refusal) Is(target error) bool {
	return target == fs.ErrPermission || target == egress.ErrRefused
}

// refuse returns the error for something that the file does not list.
func refuse(key, entry, format string, args ...any) error {
	return &Refusal{
		Msg:  fmt.Sprintf("%s of this atom does not allow "+format, append([]any{File}, args...)...) + " (" + key + ")",
		Hint: fmt.Sprintf("if packages may use it, add `%s` to `%s:` in %s in the data folder of the atom", entry, key, File),
	}
}
