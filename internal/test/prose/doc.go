// Package prose checks the wording of comments. Each package has a budget of
// words that make prose hard to read; a budget may only fall.
package prose
