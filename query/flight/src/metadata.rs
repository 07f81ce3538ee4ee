//! What Flight SQL clients ask about the server and its tables.

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, SqlSupportedTransaction, XdbcDataType};
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use std::sync::LazyLock;

/// The one catalog.
pub(crate) const CATALOG: &str = "bodkin";
/// Its schema of tables.
pub(crate) const SCHEMA: &str = "public";
/// The types of tables.
pub(crate) const TABLE_TYPES: [&str; 2] = ["BASE TABLE", "VIEW"];

/// What the server is.
pub(crate) fn sql_info() -> &'static SqlInfoData {
    static INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
        let mut info = SqlInfoDataBuilder::new();
        info.append(SqlInfo::FlightSqlServerName, "Bodkin");
        info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
        info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
        info.append(SqlInfo::FlightSqlServerReadOnly, true);
        info.append(SqlInfo::FlightSqlServerSql, true);
        info.append(SqlInfo::FlightSqlServerSubstrait, false);
        info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
        info.append(SqlInfo::FlightSqlServerCancel, false);
        info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
        info.build().expect("invariant: constants of the types that SqlInfo asks for")
    });
    &INFO
}

/// The types of columns.
pub(crate) fn type_info() -> &'static XdbcTypeInfoData {
    static INFO: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
        let mut types = XdbcTypeInfoDataBuilder::new();
        for (name, data_type, size, quote) in [
            ("VARCHAR", XdbcDataType::XdbcVarchar, None, Some("'")),
            ("BIGINT", XdbcDataType::XdbcBigint, Some(19), None),
            ("INTEGER", XdbcDataType::XdbcInteger, Some(10), None),
            ("DOUBLE", XdbcDataType::XdbcDouble, Some(15), None),
            ("DATE", XdbcDataType::XdbcDate, Some(10), Some("'")),
            ("TIMESTAMP", XdbcDataType::XdbcTimestamp, Some(26), Some("'")),
        ] {
            types.append(XdbcTypeInfo {
                type_name: name.to_owned(),
                data_type,
                column_size: size,
                literal_prefix: quote.map(str::to_owned),
                literal_suffix: quote.map(str::to_owned),
                nullable: Nullable::NullabilityNullable,
                case_sensitive: quote.is_some(),
                searchable: Searchable::Full,
                unsigned_attribute: Some(false),
                local_type_name: Some(name.to_owned()),
                sql_data_type: data_type,
                ..Default::default()
            });
        }
        types.build().expect("invariant: constants of the types that XdbcTypeInfo asks for")
    });
    &INFO
}

/// A schema as Flight SQL carries it inside other messages.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes, ArrowError> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options).try_into()?;
    Ok(message.0)
}
