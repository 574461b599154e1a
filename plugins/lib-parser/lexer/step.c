// How a lexer goes on to the next character.

#include "lexer.h"

// What a `TSLexer` has for that. It is tree-sitter's own, the same for all parsers.
static void (*own_step)(TSLexer *, bool);

// Does what tree-sitter 0.22.6 does in `ts_lexer__advance`, where nothing is special: this
// character has one byte, which none has in UTF-16, the next one is of ASCII and in the same chunk
// and range, and nobody logs. Everything else is left to tree-sitter.
static void step(TSLexer *data, bool skip) {
  Lexer *lexer = (Lexer *)data;
  const uint32_t next = lexer->current_position.bytes + 1;
  // Beyond every chunk if it lies before this one.
  const uint32_t place = next - lexer->chunk_start;
  if (
    lexer->lookahead_size != 1 ||
    place >= lexer->chunk_size ||
    (uint8_t)lexer->chunk[place] >= 0x80 ||
    lexer->current_included_range_index >= lexer->included_range_count ||
    next >= lexer->included_ranges[lexer->current_included_range_index].end_byte ||
    lexer->logger.log
  ) {
    own_step(data, skip);
    return;
  }
  lexer->current_position.bytes = next;
  if (data->lookahead == '\n') {
    lexer->current_position.extent.row++;
    lexer->current_position.extent.column = 0;
  } else {
    lexer->current_position.extent.column++;
  }
  if (skip) lexer->token_start_position = lexer->current_position;
  data->lookahead = lexer->chunk[place];
}

// A parser begins with its lexer (`struct TSParser`, src/parser.c). Whether this one does, which
// has not been used yet.
static bool has_lexer(const Lexer *lexer) {
  return lexer->data.advance && lexer->data.lookahead == 0 && lexer->chunk_size == 0 &&
    lexer->current_position.bytes == 0 && lexer->included_range_count == 1 &&
    lexer->included_ranges->start_byte == 0 && lexer->included_ranges->end_byte == UINT32_MAX;
}

// Remembers a new parser's own step. False if the parser isn't built as expected.
bool rlhf_parser_learn_step(const TSParser *parser) {
  const Lexer *lexer = (const Lexer *)parser;
  if (!has_lexer(lexer)) return false;
  own_step = lexer->data.advance;
  return true;
}

// Gives a new parser the step above; its own must be remembered. False as above.
bool rlhf_parser_set_step(TSParser *parser) {
  Lexer *lexer = (Lexer *)parser;
  if (!has_lexer(lexer) || lexer->data.advance != own_step) return false;
  lexer->data.advance = step;
  return true;
}
