package compose

import (
	"crypto/rand"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/wire"
	"valence/processes"
)

// SerialKey returns the key under which a publisher's serials are stored.
func SerialKey(project, environment string) string { return project + "\n" + environment }

// checkStatement verifies a deployment against its publisher's statement.
func (c *Composer) checkStatement(o *source, environment string, serials map[string]int64, v *Composition) error {
	if len(o.Statement) == 0 {
		return Permanentf("the package of %s has no publisher's signature, and this atom requires one", o.Project)
	}
	s, err := wire.ReadStatement(o.Statement, o.Signature, c.publishers)
	if err != nil {
		return Permanentf("the package of %s: %w", o.Project, err)
	}
	switch {
	case s.Project != o.Project:
		return Permanentf("the publisher's statement is for the project %s, not %s", s.Project, o.Project)
	case s.Environment != environment:
		return Permanentf("the publisher's statement is for the environment %s, not %s", s.Environment, environment)
	case s.Package != o.Package:
		return Permanentf("the publisher's statement is for another package of %s", o.Project)
	}
	if err := c.checkEnvironment(environment, serials); err != nil {
		return err
	}
	key := SerialKey(s.Project, s.Environment)
	if newest := serials[key]; s.Serial < newest {
		return Permanentf("the publisher's statement for %s has serial %d, but this atom has already seen %d: it is outdated", o.Project, s.Serial, newest)
	}
	if v.Serials == nil {
		v.Serials = map[string]int64{}
	}
	v.Serials[key] = max(v.Serials[key], s.Serial)
	o.statement = s
	return nil
}

// checkEnvironment rejects an environment other than the atom's own: the one it
// joined or, failing that, the first it ran packages for. Otherwise a
// compromised control plane could run packages signed for another environment.
func (c *Composer) checkEnvironment(environment string, serials map[string]int64) error {
	home := c.o.Identity.Environment
	for key := range serials {
		if _, seen, _ := strings.Cut(key, "\n"); home == "" {
			home = seen
		}
	}
	if home != "" && home != environment {
		return Permanentf("this atom runs packages signed for the environment %s, but the control plane assigned it to %s; to move it, join again: valence join URL --again", home, environment)
	}
	return nil
}

// checkAllowed verifies that the publisher allows the control plane to set a
// field, and allows every host in its value.
func checkAllowed(o *source, field, value string) error {
	if !o.statement.AllowsField(field) {
		return Permanentf("the publisher of %s does not allow the environment to set %s", o.Project, field)
	}
	if strings.HasPrefix(field, "secret.") && !strings.Contains(value, "://") {
		return nil // a secret may have any form
	}
	for _, host := range hostsIn(value) {
		switch {
		case o.statement.AllowsHost(host):
		case strings.HasPrefix(field, "secret."): // do not reveal part of a secret
			return Permanentf("the publisher of %s does not allow %s to contain this host", o.Project, field)
		default:
			return Permanentf("the publisher of %s does not allow %s to use the host %s", o.Project, field, host)
		}
	}
	return nil
}

// signedHosts returns the hosts that a signed project may connect to: those
// that the publisher listed, and those that the project and this machine name.
// The values that the control plane sets name none.
func (c *Composer) signedHosts(r *atom.Release, d *wire.Desired, o *source) []string {
	var hosts []string
	for _, h := range o.statement.Hosts {
		_, _, err := net.SplitHostPort(h)
		_, notNetwork := netip.ParsePrefix(h)
		switch {
		case h == "*":
		case err == nil || notNetwork == nil:
			hosts = append(hosts, h)
		default: // as in a URL, the port is the default of the scheme
			hosts = append(hosts, h+":80", h+":443")
		}
	}
	// A host with the placeholder in it exists nowhere.
	placeholder := "x" + strings.ToLower(rand.Text())
	env, secrets := &document.Object{}, &document.Object{}
	for name, value := range r.Env {
		if _, given := d.Values[name]; given {
			value = placeholder
		}
		env.Set(name, value)
	}
	for name, value := range r.Secrets {
		if _, given := d.Secrets[name]; given {
			value = placeholder
		}
		secrets.Set(name, value)
	}
	for _, settings := range r.Project.Settings(&expression.Env{Names: processes.Values{Env: env, Secrets: secrets}}, r.Environment) {
		for _, h := range namedHosts(settings) {
			if !strings.Contains(h, placeholder) && !strings.Contains(h, "*") {
				hosts = append(hosts, h)
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// namedHosts returns the hosts that settings name, with their ports if they are
// known.
func namedHosts(v any) (hosts []string) {
	switch v := v.(type) {
	case *document.Object:
		for i := range v.Len() {
			_, e := v.At(i)
			hosts = append(hosts, namedHosts(e)...)
		}
	case []any:
		for _, e := range v {
			hosts = append(hosts, namedHosts(e)...)
		}
	case string:
		u, err := url.Parse(v)
		if err != nil || u.Host == "" {
			return []string{v} // a name alone, or nothing that is one
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		if port == "" {
			return []string{u.Hostname()}
		}
		return []string{net.JoinHostPort(u.Hostname(), port)}
	}
	return hosts
}

var (
	urlLike  = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*:/*[^\s"',;]+|//[^\s"',;]+`)
	hostLike = regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_-]+)*\.[a-z][a-z0-9-]*|localhost)\.?$`)
)

// hostsIn returns everything in a value that could be a host name: hosts of
// URLs and words that look like hosts.
func hostsIn(value string) []string {
	var hosts []string
	for _, text := range urlLike.FindAllString(value, -1) {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		} else if strings.Contains(text, "//") {
			hosts = append(hosts, text) // matches no publisher's list
		}
	}
	// A host may contain characters that end a URL in running text.
	if u, err := url.Parse(strings.TrimSpace(value)); err == nil && u.Host != "" {
		hosts = append(hosts, u.Host)
	}
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"',;{}()<>=|&?#", r) }) {
		if strings.Contains(word, "//") {
			continue
		}
		word, _, _ = strings.Cut(word, "/")
		word = strings.TrimLeft(word[strings.LastIndex(word, "@")+1:], ".")
		host, _, err := net.SplitHostPort(word)
		if err != nil {
			host = word
		}
		if looksLikeHost(host) {
			hosts = append(hosts, word)
		}
	}
	return hosts
}

// looksLikeHost reports whether a word may be a host name or an address. A
// non-ASCII word is one if it contains a dot of any script (RFC 3490, 3.1).
func looksLikeHost(word string) bool {
	if strings.ContainsFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ContainsAny(word, ".\u3002\uff0e\uff61")
	}
	_, err := netip.ParseAddr(strings.Trim(word, "[]"))
	return err == nil || hostLike.MatchString(word)
}
