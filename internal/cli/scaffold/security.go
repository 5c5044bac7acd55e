package scaffold

import (
	"slices"
	"strings"
)

// chooseSecurity sets the scheme of each operation: that of its `security:`, or of
// the document. A document without `security:` has the first supported scheme for
// all. The most frequent scheme becomes the primary one.
func (b *builder) chooseSecurity(supported func(securityEntry) bool) {
	stated := b.d.Security != nil || slices.ContainsFunc(b.operations, func(o *operation) bool { return o.Security != nil })
	schemes := b.d.Components.SecuritySchemes
	usable := func(name string) bool { s, ok := schemes[name]; return ok && supported(s) }
	first := ""
	for _, name := range sortedKeys(schemes) {
		if usable(name) {
			if first == "" {
				first = name
			}
			continue
		}
		b.note("the security scheme %s was not taken over", name)
	}
	count := map[string]int{}
	for _, o := range b.operations {
		if o.scheme = first; stated {
			o.scheme, o.public = b.schemeOf(o, usable)
		}
		count[o.scheme]++
	}
	for _, o := range b.operations {
		if o.scheme != "" && (b.primary == "" || count[o.scheme] > count[b.primary]) {
			b.primary = o.scheme
		}
	}
}

// schemeOf returns the scheme of an operation, "" if there is none that can be
// used. public is set if the document demands none.
func (b *builder) schemeOf(o *operation, usable func(string) bool) (scheme string, public bool) {
	alternatives := b.d.Security
	if o.Security != nil {
		alternatives = *o.Security
	}
	var missing []string
	for _, needed := range alternatives {
		names := sortedKeys(needed)
		if len(names) == 1 && usable(names[0]) {
			return names[0], false
		}
		if len(names) > 0 {
			missing = append(missing, strings.Join(names, " and "))
		}
	}
	if len(missing) == 0 {
		return "", true
	}
	b.note("%s: its security, %s, was not taken over", o.process, strings.Join(missing, ", or "))
	return "", false
}

// suffix returns the ending of the names of connections and auths with a scheme.
func (b *builder) suffix(scheme string) string {
	switch scheme {
	case b.primary:
		return ""
	case "":
		return "-open"
	}
	return "-" + slug(scheme, "auth")
}

// connectionOf returns the connection of an operation.
func (b *builder) connectionOf(o *operation) string { return b.name + b.suffix(o.scheme) }

// schemesUsed returns the schemes of the operations, the primary one first.
func (b *builder) schemesUsed() []string {
	list := []string{b.primary}
	for _, o := range b.operations {
		if !slices.Contains(list, o.scheme) {
			list = append(list, o.scheme)
		}
	}
	return list
}

// callable reports whether a connection can have a scheme.
func callable(s securityEntry) bool {
	return checkable(s) || s.Type == "oauth2" && s.Flows.ClientCredentials != nil
}

// checkable reports whether a listener can have a scheme.
func checkable(s securityEntry) bool {
	return s.Type == "apiKey" && (s.In == "header" || s.In == "query") ||
		s.Type == "http" && (strings.EqualFold(s.Scheme, "bearer") || strings.EqualFold(s.Scheme, "basic"))
}

// credentials returns the authentication of a connection; "" if it has none.
func (b *builder) credentials(connection, scheme string) string {
	s := b.d.Components.SecuritySchemes[scheme]
	key, user := "${secret."+constant(connection)+"_", "\"${env."+constant(connection)+"_"
	switch {
	case scheme == "":
		return ""
	case s.Type == "apiKey":
		return "auth: { scheme: api_key, " + s.In + ": " + flow(s.Name) + ", key: \"" + key + "KEY}\" }\n"
	case s.Type == "oauth2":
		return "auth: { scheme: oauth2, token_url: " + flow(s.Flows.ClientCredentials.TokenURL) + ", client_id: " + user + "CLIENT}\", client_secret: \"" + key + "SECRET}\" }\n"
	case strings.EqualFold(s.Scheme, "bearer"):
		return "auth: { scheme: bearer, token: \"" + key + "TOKEN}\" }\n"
	}
	return "auth: { scheme: basic, user: " + user + "USER}\", password: \"" + key + "PASSWORD}\" }\n"
}

// callers returns the authentication of the callers of a scheme. Without one that
// can be checked, they need an API key.
func (b *builder) callers(scheme string) string {
	suffix := b.suffix(scheme)
	auth, name := "auth: callers"+suffix+"\n", "CALLER"+constant(suffix)+"_"
	s := b.d.Components.SecuritySchemes[scheme]
	switch {
	case scheme == "":
		return "# TODO: decide how callers authenticate.\n" + auth + "scheme: api_key\nheader: X-Api-Key\nkey: ${secret." + name + "KEY}\n"
	case s.Type == "apiKey":
		return auth + "scheme: api_key\n" + s.In + ": " + flow(s.Name) + "\nkey: ${secret." + name + "KEY}\n"
	case strings.EqualFold(s.Scheme, "bearer"):
		return auth + "scheme: bearer\ntoken: ${secret." + name + "TOKEN}\n"
	}
	return auth + "scheme: basic\nuser: ${env." + name + "USER}\npassword: ${secret." + name + "PASSWORD}\n"
}
