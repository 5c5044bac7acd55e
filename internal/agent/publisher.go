package agent

import (
	"net"
	"net/url"
	"regexp"
	"strings"

	"valence/internal/wire"
)

// vouched holds a deployment against what its publisher says of it.
func (a *Agent) vouched(o *owner, environment string, serials map[string]int64, v *version) error {
	if len(o.Statement) == 0 {
		return never("the package of %s has no publisher's signature, and this atom asks for one", o.Project)
	}
	s, err := wire.ReadStatement(o.Statement, o.Signature, a.publishers)
	if err != nil {
		return never("the package of %s: %w", o.Project, err)
	}
	switch {
	case s.Project != o.Project:
		return never("the publisher's statement is of the project %s, not of %s", s.Project, o.Project)
	case s.Environment != environment:
		return never("the publisher's statement is for the environment %s, not for %s", s.Environment, environment)
	case s.Package != o.Package:
		return never("the publisher's statement is of another package than the one of %s", o.Project)
	}
	key := s.Project + "\n" + s.Environment
	if newest := serials[key]; s.Serial < newest {
		return never("the publisher's statement for %s has the serial %d, and this atom has seen %d: it is an old one", o.Project, s.Serial, newest)
	}
	if v.serials == nil {
		v.serials = map[string]int64{}
	}
	v.serials[key] = max(v.serials[key], s.Serial)
	o.statement = s
	return nil
}

// allowed holds a field that the control plane sets against what the publisher
// lets it set, and every host in its value against those it may name.
func allowed(o *owner, field, value string) error {
	if !o.statement.AllowsField(field) {
		return never("the publisher of %s does not let the environment set %s", o.Project, field)
	}
	if strings.HasPrefix(field, "secret.") && !strings.Contains(value, "://") {
		return nil // a secret may look like anything
	}
	for _, host := range hostsIn(value) {
		if !o.statement.AllowsHost(host) {
			return never("the publisher of %s does not let %s lead to the host %s", o.Project, field, host)
		}
	}
	return nil
}

var (
	urlLike  = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*:/*[^\s"',;]+|//[^\s"',;]+`)
	hostLike = regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_-]+)*\.[a-z][a-z0-9-]*|localhost)\.?$`)
)

// hostsIn finds everything in a value that may be taken for the name of a host:
// those of URLs, and words that look like one.
func hostsIn(value string) []string {
	var hosts []string
	for _, text := range urlLike.FindAllString(value, -1) {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		} else if strings.Contains(text, "//") {
			hosts = append(hosts, text) // no publisher's list holds it
		}
	}
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"',;[]{}()", r) }) {
		if strings.Contains(word, "//") {
			continue
		}
		word, _, _ = strings.Cut(word, "/")
		if _, rest, user := strings.Cut(word, "@"); user {
			word = rest
		}
		host, _, err := net.SplitHostPort(word)
		if err != nil {
			host = word
		}
		if net.ParseIP(strings.Trim(host, "[]")) != nil || hostLike.MatchString(host) {
			hosts = append(hosts, word)
		}
	}
	return hosts
}
