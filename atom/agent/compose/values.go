package compose

import (
	"bytes"
	"crypto/ecdh"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"valence/atom"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/wire"
	"valence/processes"
)

// resolveValues sets the values a project needs. Precedence: the control plane,
// the environment: component, the machine. For a local project the machine
// comes first.
func (c *Composer) resolveValues(r *atom.Release, d *wire.Desired, o *source) error {
	r.Env, r.Secrets, r.Connections = map[string]string{}, map[string]string{}, map[string]*document.Object{}
	name := c.o.Environment
	if name == "" {
		name = d.Environment
	}
	if name != "" {
		r.Environment = r.Project.Environments[name]
	}
	if r.Environment != nil {
		maps.Copy(r.Env, r.Environment.Values)
	}
	var missing []string
	for _, need := range r.Project.Needs {
		value, why, err := c.resolveValue(d, need, r, o)
		if err != nil {
			return err
		}
		switch {
		case why != "":
			missing = append(missing, fmt.Sprintf("%s %s, used at %s: %s", need.Kind, need.Name, need.Pos, why))
		case need.Kind == "secret":
			r.Secrets[need.Name] = value
		default:
			r.Env[need.Name] = value
		}
	}
	if len(missing) > 0 {
		sort.Strings(missing)
		return Permanentf("required values are missing; set them for the environment (valence cloud value, valence cloud secret) or on the machine:\n%s", strings.Join(slices.Compact(missing), "\n"))
	}
	return c.applyOverrides(r, d, o)
}

// resolveValue resolves one value. It returns an error if the publisher forbids
// the control plane's value.
func (c *Composer) resolveValue(d *wire.Desired, need processes.Need, r *atom.Release, o *source) (value, why string, err error) {
	given, there, err := c.controlPlaneValue(d, need)
	if err != nil {
		return "", "", err
	}
	if o == nil && there {
		if value, why := c.o.Value(need, r.Environment, r.Policy); why == "" || len(c.publishers) > 0 {
			return value, why, nil
		}
		return given, "", nil
	}
	if there {
		if o.statement != nil {
			if err := checkAllowed(o, need.Kind+"."+need.Name, given); err != nil {
				return "", "", err
			}
		}
		return given, "", nil
	}
	value, why = c.o.Value(need, r.Environment, r.Policy)
	return value, why, nil
}

// controlPlaneValue returns a value set by the control plane, unsealed if it is
// a secret.
func (c *Composer) controlPlaneValue(d *wire.Desired, need processes.Need) (value string, there bool, err error) {
	if need.Kind != "secret" {
		value, there = d.Values[need.Name]
		return value, there, nil
	}
	sealed, there := d.Secrets[need.Name]
	if !there {
		return "", false, nil
	}
	key, err := ecdh.X25519().NewPrivateKey(c.o.Identity.SealKey)
	if err != nil {
		return "", false, &PermanentError{Err: err}
	}
	if value, err = wire.Open(key, c.o.Identity.Atom, need.Name, sealed); err != nil {
		return "", false, Permanentf("the secret %s was not sealed for this atom", need.Name)
	}
	return value, true, nil
}

// applyOverrides sets the control plane's connection settings for the
// connections that the project has.
func (c *Composer) applyOverrides(r *atom.Release, d *wire.Desired, o *source) error {
	if len(bytes.TrimSpace(d.Connections)) == 0 || string(d.Connections) == "null" {
		return nil
	}
	if err := convert.CheckJSON(d.Connections); err != nil {
		return Permanentf("the connection settings cannot be parsed: %w", err)
	}
	all, ok := document.Decode(document.Parse(string(d.Connections))).(*document.Object)
	if !ok {
		return Permanentf("the connection settings are not an object")
	}
	for _, name := range all.Keys() {
		if r.Project.Connections[name] == nil {
			continue // of another project
		}
		raw, _ := all.Get(name)
		settings, ok := document.Decode(raw).(*document.Object)
		if !ok {
			return Permanentf("the settings of the connection %s are not an object", name)
		}
		if o == nil && len(c.publishers) > 0 {
			return Permanentf("the control plane may not change the connection %s of the local project", name)
		}
		if o != nil && o.statement != nil {
			for i := range settings.Len() {
				key, value := settings.At(i)
				if err := checkAllowed(o, "connection."+name+"."+key, string(document.AppendJSON(nil, value))); err != nil {
					return err
				}
			}
		}
		r.Connections[name] = settings
	}
	return nil
}
